"""What the drain is measured against: stock queues on Redis, each as a careful user would run it."""
