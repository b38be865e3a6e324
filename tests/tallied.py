"""What the tallies of batches say, beside a count of the rows themselves."""

from __future__ import annotations

from typing import TypeAlias

from sqlalchemy import Connection, text

from broker.batches import Outcome, Status
from broker.store.tally_triggers import STRETCH_BITS

Kind: TypeAlias = tuple[str, int, str, str, bool]
"""Workspace, stretch, dialect, type, whether they are children."""

_STATES = {
    **{status.lower(): f"status = '{status}'" for status in Status if status is not Status.DONE},
    **{str(outcome): f"status = 'DONE' AND outcome = '{outcome}'" for outcome in Outcome},
}
_COUNTED = ", ".join(f"CASE WHEN {state} THEN 1 ELSE 0 END AS {name}" for name, state in _STATES.items())
_MISCOUNTED = text(
    f"""
    SELECT workspace_id, stretch, dialect, type, child, {", ".join(f"sum({name}) AS {name}" for name in _STATES)}
    FROM (
        SELECT workspace_id, seq >> {STRETCH_BITS} AS stretch, dialect, type, parent_id IS NOT NULL AS child, {_COUNTED}
        FROM batches
        UNION ALL
        SELECT workspace_id, stretch, dialect, type, child, {", ".join(f"-{name}" for name in _STATES)} FROM tallies
    ) AS both_ways
    GROUP BY workspace_id, stretch, dialect, type, child
    HAVING {" OR ".join(f"sum({name}) <> 0" for name in _STATES)}
    """
)


def miscounted(connection: Connection) -> dict[Kind, dict[str, int]]:
    """Where the tallies are wrong: by how many batches of each state there are more than they say."""
    return {
        tuple(row[:5]): dict(zip(_STATES, map(int, row[5:]), strict=True)) for row in connection.execute(_MISCOUNTED)
    }
