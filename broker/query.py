"""Looking at batches: one, its state, a list. What another workspace owns does not exist here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from broker.batches import Batch, BatchHead, Overview, Record, Result, Status, is_id
from broker.errors import NotFound, Unavailable
from broker.media.links import Links
from broker.store.batches import find_batch, find_head, list_batches
from broker.store.database import Database
from broker.store.overviews import find_overview, list_overviews
from broker.store.results import results_of, results_of_run
from broker.store.tallies import BatchFilter

LOOKS = 5

Found = TypeVar("Found", Batch, BatchHead)


@dataclass(frozen=True, slots=True)
class Query:
    """The use case. `workspaces` are those that the caller may see."""

    database: Database
    links: Links

    async def details(self, id: str, dialect: str, workspaces: Collection[str]) -> tuple[Batch, Sequence[Result]]:
        """A batch and, when it is DONE, its results with fresh links. Raises NotFound, Unavailable."""
        async with self.database.reading() as connection:
            for _ in range(LOOKS):
                batch = _seen(await find_batch(connection, _canonical(id)), dialect, workspaces)
                if batch.status is not Status.DONE:
                    return batch, []
                results = await results_of_run(connection, batch.id, batch.run)
                if results is not None:
                    return batch, [self.links.resolve(batch, result) for result in results]
                # It runs again since it was read, or is deleted: two statements see two states.
        raise Unavailable(retry_after=1)

    async def status(self, id: str, dialect: str, workspaces: Collection[str]) -> Status:
        """The state of a batch. Raises NotFound."""
        async with self.database.reading() as connection:
            return _seen(await find_head(connection, _canonical(id)), dialect, workspaces).status

    async def page(self, which: BatchFilter, number: int, size: int) -> tuple[int, list[BatchHead]]:
        """(how many there are, page `number` from 1). Raises NotFound past the end; page 1 is always there."""
        async with self.database.reading() as connection:
            count, found = await list_batches(connection, which, (number - 1) * size, size)
        check_page(number, size, count)
        return count, found

    async def overview(self, id: str, workspaces: Collection[str]) -> Overview:
        """How a batch stands, found by its UUID or its dialect's own id. Raises NotFound."""
        if not (id.isascii() and id.isprintable()):  # PostgreSQL takes no NUL
            raise NotFound()
        async with self.database.reading() as connection:
            found = await find_overview(connection, id, tuple(workspaces))
        if found is None:
            raise NotFound()
        return found

    async def finished_records(self, id: str) -> list[tuple[Record, Result]]:
        """Those records of a batch, by its UUID, that are finished so far, in their order. Raises NotFound."""
        async with self.database.reading() as connection:
            batch = await find_batch(connection, id)
            if batch is None:
                raise NotFound()
            results = await results_of(connection, batch.id)
        return [(batch.records[result.index], result) for result in results]

    async def overviews(self, which: BatchFilter, number: int, size: int) -> tuple[int, list[Overview]]:
        """(how many there are, page `number` from 1), newest first over all dialects. Raises as `page` does."""
        async with self.database.reading() as connection:
            count, found = await list_overviews(connection, which, (number - 1) * size, size)
        check_page(number, size, count)
        return count, found


def _canonical(id: str) -> str:
    if not is_id(id):
        raise NotFound()
    return id.lower()


def _seen(found: Found | None, dialect: str, workspaces: Collection[str]) -> Found:
    if found is None or found.dialect != dialect or found.workspace not in workspaces:
        raise NotFound()
    return found


def check_page(number: int, size: int, count: int) -> None:
    """Raises NotFound for a page past the end; page 1 is always there."""
    if number > 1 and (number - 1) * size >= count:
        raise NotFound("Invalid page.")
