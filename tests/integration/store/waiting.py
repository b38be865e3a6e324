"""Writers that wait for each other, as PostgreSQL tells it."""

from __future__ import annotations

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'broker writer' AND wait_event_type = 'Lock'
"""
"""How many writers of this database wait for a lock."""
