"""Outgoing connections to addresses that customers name."""
