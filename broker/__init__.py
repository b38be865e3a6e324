"""A self-hosted broker for asynchronous image work."""
