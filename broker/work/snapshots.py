"""Local copies of collections of items, each kept up to date by what has changed since it was last asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

import structlog
from pydantic import ValidationError

from broker.batches import Batch
from broker.errors import Misconfigured
from broker.store.database import Database
from broker.store.items import Change, Collection, Mark, changes_after, stand_still
from broker.store.snapshot import change_snapshot, create_snapshot
from broker.threads import in_thread
from broker.work.references import Paths
from handlers.contract import Params, Spec

PAGE = 1000
IDLE_SECONDS = 600.0
"""How long a copy that nobody asks for takes up room."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Copy:
    """mark: the last change in it. users: runs that may read it. used: when one last did, by `time.monotonic()`."""

    path: Path
    mark: Mark
    users: int = 0
    used: float = 0.0


class Snapshots:
    """One a worker process. A copy never changes: a newer one takes its place, and it goes with its last user."""

    def __init__(self, database: Database, folder: Path, idle_seconds: float = IDLE_SECONDS) -> None:
        self._database = database
        self._folder = folder
        self._idle = idle_seconds
        self._made = 0
        self._copies: dict[Collection, _Copy] = {}
        self._locks: WeakValueDictionary[Collection, asyncio.Lock] = WeakValueDictionary()
        self._long_read = asyncio.Lock()

    def of_batch(self, spec: Spec, batch: Batch) -> AbstractAsyncContextManager[Paths]:
        """Those of a batch. None where its references cannot be told, as its records will say.

        Raises Misconfigured where another version of its type has accepted it; to enter what it returns, Unavailable.
        """
        try:
            wanted = _wanted(spec, _params(spec, batch))
        except Misconfigured:
            raise
        except Exception:  # a type's own code; no record has begun that could have it as its result
            log.exception("batch.references_failed", batch=batch.id, type=batch.type)
            wanted = []
        return self._all(batch.workspace, wanted) if wanted else nullcontext({})

    def of(self, workspace: str, spec: Spec, params: Params) -> AbstractAsyncContextManager[Paths]:
        """Copies of the collections that a type's parameters refer to, as they are by now. Raises Unavailable."""
        return self._all(workspace, _wanted(spec, params))

    @asynccontextmanager
    async def _all(self, workspace: str, wanted: Sequence[tuple[str, str]]) -> AsyncIterator[Paths]:
        async with AsyncExitStack() as stack:
            yield {
                (kind, id): await stack.enter_async_context(self._lent(Collection(workspace, kind, id)))
                for kind, id in wanted
            }

    @asynccontextmanager
    async def _lent(self, collection: Collection) -> AsyncIterator[Path]:
        copy = await self._taken(collection)
        try:
            yield copy.path
        finally:
            copy.users -= 1
            copy.used = time.monotonic()
            if self._copies.get(collection) is not copy:
                self._discard(copy)
            self._forget_idle()

    async def _taken(self, collection: Collection) -> _Copy:
        """The newest copy, with one user more. A collection's lock is there as long as somebody asks for a copy."""
        async with self._locks.setdefault(collection, asyncio.Lock()):
            copy = await self._newest(collection)
            copy.users += 1
        return copy

    async def _newest(self, collection: Collection) -> _Copy:
        old = self._copies.get(collection)
        changes = await self._changes(collection, old.mark if old else Mark())
        if old and not changes:
            return old
        new = await self._renewed(collection, old, changes)
        self._copies[collection] = new
        if old:
            self._discard(old)
        return new

    async def _renewed(self, collection: Collection, old: _Copy | None, changes: list[Change]) -> _Copy:
        """`old` with `changes`, its first page, and with what comes behind them.

        A page that is not full is the end of the changes, as one statement has seen them: the state of one moment.
        """
        self._made += 1
        new = _Copy(self._folder / f"items-{self._made}.sqlite3", Mark(), used=time.monotonic())
        try:
            await _to_its_end(partial(create_snapshot, new.path, old.path if old else None))
            await self._bring_in(new, changes)
            if len(changes) == PAGE:
                await self._bring_in_rest(collection, new)
        except BaseException:
            self._discard(new)
            raise
        return new

    async def _bring_in_rest(self, collection: Collection, new: _Copy) -> None:
        """All pages of one moment, however fast the collection changes meanwhile.

        Without that, a load that goes on would always leave one more full page. To stop at a revision instead would
        lose the items that moved beyond it while earlier pages were read; at a later moment they are behind the mark.
        One at a time: it keeps one of the process's few connections for long.
        """
        async with self._long_read, self._database.reading() as connection:
            await stand_still(connection)
            while changes := await changes_after(connection, collection, new.mark, PAGE):
                await self._bring_in(new, changes)

    async def _bring_in(self, new: _Copy, changes: list[Change]) -> None:
        if changes:
            await _to_its_end(partial(change_snapshot, new.path, changes))
            new.mark = changes[-1].mark

    async def _changes(self, collection: Collection, mark: Mark) -> list[Change]:
        async with self._database.reading() as connection:
            return await changes_after(connection, collection, mark, PAGE)

    def _forget_idle(self) -> None:
        """Those that nobody has, asks for, or asked for in a while."""
        late = time.monotonic() - self._idle
        for collection, copy in list(self._copies.items()):
            if not copy.users and copy.used < late and collection not in self._locks:
                del self._copies[collection]
                self._discard(copy)

    def _discard(self, copy: _Copy) -> None:
        if not copy.users:
            with suppress(FileNotFoundError):
                copy.path.unlink()


async def _to_its_end(work: Callable[[], None]) -> None:
    """Over only when the thread is, also if it is cancelled: nobody would remove a file that it makes after that."""
    thread = in_thread(work)
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait({thread})
        except asyncio.CancelledError as error:
            cancelled = error
    failed = thread.exception()
    if outcome := cancelled or failed:
        raise outcome


def _params(spec: Spec, batch: Batch) -> Params:
    """Raises Misconfigured where this version of the type does not take them, as during a rolling deploy."""
    try:
        return spec.endpoints[batch.endpoint].model_validate(batch.params)
    except (KeyError, ValidationError) as error:
        message = f"the type {batch.type} of this worker does not take endpoint {batch.endpoint} with such parameters"
        raise Misconfigured(message) from error


def _wanted(spec: Spec, params: Params) -> list[tuple[str, str]]:
    return sorted({(ref.kind, ref.id) for ref in spec.references(params) if ref.kind in spec.items})
