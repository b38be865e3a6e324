"""Settings -> running parts. The only place that wires, and nothing happens on import."""
