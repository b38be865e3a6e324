"""The types of image work: what each does to pixels, with no knowledge of HTTP, SQL or queues."""
