"""Sending webhooks that are owed."""
