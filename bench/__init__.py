"""Measurements of the running product. They print, and assert nothing."""
