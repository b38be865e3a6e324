"""The history of batches, results and deliveries, kept by triggers in the very transactions that change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store.database import Database

TABLE = "torture_history"
_COLUMNS = (
    "what, batch_id, position, run, seq, batch_seq, old_status, status, old_run, old_seq, crashes, suspect, owner,"
    " outcome, lease_until, at"
)
_NOW = {
    "sqlite": "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}
_ID = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "BIGSERIAL PRIMARY KEY"}
_ID_TYPE = {"sqlite": "TEXT", "postgresql": "UUID"}
# Name of a trigger -> event and table, and what a line of history says then, in the order of _COLUMNS without the time.
_EVENTS = {
    "accepted": (
        "AFTER INSERT ON batches",
        "'batch', NEW.id, NULL, NEW.run, NEW.lease_seq, NULL, NULL, NEW.status, NULL, NULL, NEW.crashes, NEW.suspect,"
        " NEW.lease_owner, NEW.outcome, NULL",
    ),
    "moved": (
        "AFTER UPDATE OF status, run, lease_seq, crashes, suspect ON batches",
        "'batch', NEW.id, NULL, NEW.run, NEW.lease_seq, NULL, OLD.status, NEW.status, OLD.run, OLD.lease_seq,"
        " NEW.crashes, NEW.suspect, coalesce(NEW.lease_owner, OLD.lease_owner), NEW.outcome, OLD.lease_until",
    ),
    "stored": (
        "AFTER INSERT ON results",
        "'result', NEW.batch_id, NEW.position, NEW.run, NEW.lease_seq,"
        " (SELECT lease_seq FROM batches WHERE id = NEW.batch_id), NULL,"
        " (SELECT status FROM batches WHERE id = NEW.batch_id), NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    ),
    "rewritten": (
        "AFTER UPDATE ON results",
        "'result', NEW.batch_id, NEW.position, NEW.run, NEW.lease_seq,"
        " (SELECT lease_seq FROM batches WHERE id = NEW.batch_id), NULL,"
        " (SELECT status FROM batches WHERE id = NEW.batch_id), OLD.run, OLD.lease_seq, NULL, NULL, NULL, NULL, NULL",
    ),
    "owed": (
        "AFTER INSERT ON deliveries",
        "'delivery', NEW.batch_id, NULL, NEW.run, NULL, (SELECT lease_seq FROM batches WHERE id = NEW.batch_id), NULL,"
        " (SELECT status FROM batches WHERE id = NEW.batch_id), NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    ),
    "sent": (
        "AFTER UPDATE OF state ON deliveries",
        "'sending', NEW.batch_id, NULL, NEW.run, NEW.lease_seq, NULL, OLD.state, NEW.state, OLD.run, OLD.lease_seq,"
        " NULL, NULL, NULL, NULL, NULL",
    ),
}


@dataclass(frozen=True)
class Line:
    """One change. what: batch | result | delivery | sending. seq: the batch's lease_seq after it, or the result's own.

    batch_seq, status: the batch's when a result or delivery was stored. old_*: before it. owner: of the lease, or of
    the one that the change ended, whoever made the change. outcome: of a batch that is DONE.
    lease_until: when the lease before the change would have been over; this and `at` in ms since 1970.
    Of `sending`, which is what becomes of a delivery: its states and its own lease_seq.
    """

    what: str
    batch: str
    position: int | None
    run: int
    seq: int | None
    batch_seq: int | None
    old_status: str | None
    status: str
    old_run: int | None
    old_seq: int | None
    crashes: int | None
    suspect: int | None
    owner: str | None
    outcome: str | None
    lease_until: int | None
    at: int

    @property
    def worker(self) -> int | None:
        """The id of the process that holds the batch, or held it until now."""
        return int(self.owner.split(":")[1]) if self.owner else None


async def keep_history(database: Database) -> None:
    """Install the table and the triggers; their statements run in the writer's transactions from now on."""
    await database.writer.write(_install, None)


async def history_of(connection: AsyncConnection) -> list[Line]:
    """All lines, in the order of the changes to each batch."""
    rows = await connection.exec_driver_sql(f"SELECT {_COLUMNS} FROM {TABLE} ORDER BY id")
    return [_line(row) for row in rows]


def _line(row: Row[Any]) -> Line:
    what, batch, *rest = tuple(row)
    return Line(what, str(batch), *rest)


def _install(connection: Connection, items: Sequence[None]) -> list[None]:
    dialect = connection.dialect.name
    _create_table(connection, dialect)
    for name, (event, line) in _EVENTS.items():
        values = f"{line}, {_NOW[dialect]}"
        for statement in _trigger(dialect, name, event, f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES ({values});"):
            connection.exec_driver_sql(statement)
    return [None] * len(items)


def _create_table(connection: Connection, dialect: str) -> None:
    numbers = "position run seq batch_seq old_run old_seq crashes suspect lease_until at".split()
    kinds = {
        **dict.fromkeys(_COLUMNS.split(", "), "TEXT"),
        **dict.fromkeys(numbers, "BIGINT"),
        "batch_id": _ID_TYPE[dialect],
    }
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    connection.exec_driver_sql(f"CREATE TABLE {TABLE} (id {_ID[dialect]}, {columns})")


def _trigger(dialect: str, name: str, event: str, statement: str) -> list[str]:
    if dialect == "sqlite":
        return [f"CREATE TRIGGER torture_{name} {event} FOR EACH ROW BEGIN {statement} END"]
    body = f"BEGIN {statement} RETURN NULL; END"
    return [
        f"CREATE FUNCTION torture_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
        f"CREATE TRIGGER torture_{name} {event} FOR EACH ROW EXECUTE FUNCTION torture_{name}()",
    ]
