"""What `broker up` leaves in its data folder for the commands that look for it there."""

from __future__ import annotations

TOKEN_FILE, URL_FILE = "token", "url"
DEFAULT_WORKSPACE = "default"
"""The workspace of that token."""
