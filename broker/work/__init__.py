"""What a worker does: run claimed batches, keep their leases, sweep up after others."""
