"""The triggers that keep `tallies` right, whoever changes `batches`: docs/decisions/0016-batches-are-tallied.md.

On SQLite, where one writes at a time, they change the row that counts. On PostgreSQL those who write at once would wait
for each other at such a row: each statement adds rows of its own there, and the sweep adds them up (tallies.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from broker.batches import Outcome, Status

STRETCH_BITS = 13
"""2^13 batches in a row of `seq` share a stretch: a list finds its page by stretches, then reads within a few."""

_KEY = {
    "workspace_id": "{row}workspace_id",
    "stretch": f"{{row}}seq >> {STRETCH_BITS}",
    "dialect": "{row}dialect",
    "type": "{row}type",
    "child": "{row}parent_id IS NOT NULL",
}
"""What a batch is counted under, by its row."""
_DECIDING = ("workspace_id", "seq", "dialect", "type", "parent_id")
_COUNTS = {
    **{status.lower(): f"{{row}}status = '{status}'" for status in Status if status is not Status.DONE},
    **{str(outcome): f"coalesce({{row}}outcome = '{outcome}', false)" for outcome in Outcome},
}
"""Each column that counts, and whether it counts a batch, by its row."""
_PLACE = ", ".join((*_KEY, "part"))
_COLUMNS = ", ".join((_PLACE, *_COUNTS))

_ADD = "INSERT INTO tallies ({columns}) VALUES ({key}, 0, {counts}) ON CONFLICT ({place}) DO UPDATE SET {changes};"
_CHANGE = "UPDATE tallies SET {changes} WHERE {same} AND part = 0;"
_FORGET = "DELETE FROM tallies WHERE {same} AND part = 0 AND {counts} = 0;"
_TRIGGER = "CREATE TRIGGER {name} AFTER {move} ON batches {when} BEGIN {body} END"

_FUNCTION = "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$"
_STATEMENT_TRIGGER = (
    "CREATE TRIGGER {name} AFTER {move} ON batches REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
)
_TELL = (
    "INSERT INTO tallies ({columns}) SELECT {key}, nextval('tallies_parts'), {sums} FROM ({kinds}) AS kinds "
    "GROUP BY {key} HAVING {some}"
)
_KINDS = "SELECT {key}, {counts} FROM {table}"


def _on_sqlite() -> Iterator[str]:
    same = " AND ".join(f"{name} = ({value.format(row='OLD.')})" for name, value in _KEY.items())
    old, new = ({name: f"({value.format(row=row)})" for name, value in _COUNTS.items()} for row in ("OLD.", "NEW."))
    add = _ADD.format(
        columns=_COLUMNS,
        key=", ".join(value.format(row="NEW.") for value in _KEY.values()),
        counts=", ".join(new.values()),
        place=_PLACE,
        changes=", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTS),
    )
    move = _CHANGE.format(
        same=same, changes=", ".join(f"{name} = {name} - {old[name]} + {new[name]}" for name in _COUNTS)
    )
    take = _CHANGE.format(same=same, changes=", ".join(f"{name} = {name} - {old[name]}" for name in _COUNTS))
    take += _FORGET.format(same=same, counts=" + ".join(_COUNTS))
    before, after = (", ".join(f"{row}.{name}" for name in _DECIDING) for row in ("OLD", "NEW"))
    elsewhere, here = f"WHEN ({before}) IS NOT ({after})", f"WHEN ({before}) IS ({after})"
    deciding = ", ".join(_DECIDING)
    yield _TRIGGER.format(name="tally_added", move="INSERT", when="", body=add)
    yield _TRIGGER.format(name="tally_moved", move="UPDATE OF status, outcome", when=here, body=move)
    yield _TRIGGER.format(name="tally_adopted", move=f"UPDATE OF {deciding}", when=elsewhere, body=take + add)
    yield _TRIGGER.format(name="tally_removed", move="DELETE", when="", body=take)


def _on_postgresql() -> Iterator[str]:
    yield "CREATE SEQUENCE tallies_parts"
    for name, move, tables in _TOLD:
        kinds = " UNION ALL ".join(_kinds(table, sign) for table, sign in _SIGNS.items() if table in tables)
        body = _TELL.format(
            columns=_COLUMNS,
            key=", ".join(_KEY),
            sums=", ".join(f"sum({name})" for name in _COUNTS),
            kinds=kinds,
            some=" OR ".join(f"sum({name}) <> 0" for name in _COUNTS),
        )
        yield _FUNCTION.format(name=name, body=body)
        yield _STATEMENT_TRIGGER.format(name=name, move=move, tables=tables)


_SIGNS = {"old": "-", "new": "+"}
_TOLD = (
    ("tally_added", "INSERT", "NEW TABLE AS new"),
    ("tally_changed", "UPDATE", "OLD TABLE AS old NEW TABLE AS new"),
    ("tally_removed", "DELETE", "OLD TABLE AS old"),
)


def _kinds(table: str, sign: str) -> str:
    """Each row of a table of those that a statement changed: its key, and what it adds to each count."""
    key = ", ".join(f"{value.format(row='')} AS {name}" for name, value in _KEY.items())
    counts = ", ".join(f"{sign}({value.format(row='')})::int AS {name}" for name, value in _COUNTS.items())
    return _KINDS.format(key=key, counts=counts, table=table)


CREATE: Mapping[str, Sequence[str]] = {"sqlite": tuple(_on_sqlite()), "postgresql": tuple(_on_postgresql())}
DROP: Mapping[str, Sequence[str]] = {
    "sqlite": (),
    "postgresql": (*(f"DROP FUNCTION {name}()" for name, _, _ in _TOLD), "DROP SEQUENCE tallies_parts"),
}
"""To be done when the table is gone, and its triggers with it."""
