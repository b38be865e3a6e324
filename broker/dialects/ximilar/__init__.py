"""Ximilar's asynchronous requests."""
