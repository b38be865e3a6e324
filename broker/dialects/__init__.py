"""The wire formats: each reads bytes into a submission and writes batches, results and errors as bytes. Pure."""
