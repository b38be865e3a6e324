"""The real store on a real database, used by two processes' worth of connections at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, text

from broker.batches import new_id
from broker.errors import Unavailable
from broker.store.database import Database, open_database
from broker.store.expiry import Kind
from broker.store.tallies import fold_tallies
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.stateful.board import Board, read_boards
from tests.stateful.promise import Act

TIMES = {
    "batches": "rank due lease_until created modified finished inputs_expired outputs_expired".split(),
    "results": ["finished"],
    "deliveries": "due held created finished".split(),
    "endpoints": "since failing_since open_until created".split(),
    "attempts": ["started"],
    "chores": ["due"],
}
FILLED = ("attempts", "deliveries", "endpoints", "results", "pictures", "batches", "chores", "tallies")
EMPTY = {
    "sqlite": [f"DELETE FROM {name}" for name in FILLED],
    "postgresql": [f"TRUNCATE {', '.join(FILLED)}"],
}
START = [
    *(f"INSERT INTO chores (name, due) VALUES ('{kind}', 0)" for kind in Kind),
    "UPDATE workspaces SET paused = false",
]


class World:
    """Opened on a migrated database, with an event loop of its own. skips_locked: rows are locked one by one."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.skips_locked = url.startswith("postgresql")
        self.workspaces = (new_id(), new_id())
        self._runner = asyncio.Runner()
        self._databases = self._runner.run(self._open(url, data_dir))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._runner.run(self._close())
        self._runner.close()

    async def _open(self, url: str, data_dir: Path) -> tuple[Database, ...]:
        databases = tuple(open_database(url, data_dir) for _ in range(2))
        for id in self.workspaces:
            assert await databases[0].writer.write(insert_workspaces, NewWorkspace(id, id, b"box"))
        return databases

    async def _close(self) -> None:
        for database in self._databases:
            await database.aclose()

    def clear(self) -> None:
        """No batch, no endpoint, no chore that has begun, no workspace that is paused."""
        self._runner.run(self._databases[0].writer.write(_clear, None))

    def pass_time(self, ms: int) -> None:
        """Let all that the database has a time of lie `ms` further back."""
        self._runner.run(self._databases[0].writer.write(_pass_time, ms))

    def read(self) -> Board:
        return self._runner.run(self._databases[0].writer.write(read_boards, None))

    def do(self, acts: Sequence[Act[Any, Any]], *, apart: bool) -> list[Any]:
        """The answers to acts that are begun at once, Unavailable among them. apart: every other in another process."""
        return self._runner.run(self._do(acts, apart))

    async def _do(self, acts: Sequence[Act[Any, Any]], apart: bool) -> list[Any]:
        writers = [database.writer for database in self._databases]
        writes = [writers[place % 2 * apart].write(act.operation, act.item) for place, act in enumerate(acts)]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        for act, answer in zip(acts, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
                answer.add_note(f"raised by {act}")
                raise answer
        return answers


def _clear(connection: Connection, items: Sequence[None]) -> Sequence[None]:
    for statement in (*EMPTY[connection.dialect.name], *START):
        connection.execute(text(statement))
    return items


def _pass_time(connection: Connection, spans: Sequence[int]) -> Sequence[int]:
    fold_tallies(connection, [None])  # the sweep does it all the time
    for ms in spans:
        for name, columns in TIMES.items():
            moves = ", ".join(f"{column} = {column} - :ms" for column in columns)
            connection.execute(text(f"UPDATE {name} SET {moves}"), {"ms": ms})
        for name, cursor in connection.execute(text("SELECT name, cursor FROM chores WHERE cursor IS NOT NULL")).all():
            finished, id = json.loads(cursor)
            moved = {"name": name, "place": json.dumps([finished - ms, id])}
            connection.execute(text("UPDATE chores SET cursor = :place WHERE name = :name"), moved)
        for id, recent in connection.execute(text("SELECT id, recent FROM endpoints WHERE recent <> '[]'")).all():
            calls = {"id": id, "calls": json.dumps([(when - ms, failed) for when, failed in json.loads(recent)])}
            connection.execute(text("UPDATE endpoints SET recent = :calls WHERE id = :id"), calls)
    return spans
