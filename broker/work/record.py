"""Running one record: fetch its picture, call the handler, store what it made. Its end is always a result."""

from __future__ import annotations

import asyncio
import errno
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic_core import to_json

from broker.batches import OUTPUT, Batch, Record, Result, new_id
from broker.errors import NotFound, Unavailable
from broker.media.blobs import Blobs, output_key
from broker.media.fetch import Fetcher
from broker.media.links import stored
from broker.threads import in_thread
from broker.work.crew import Crew
from broker.work.references import References
from handlers import contract
from handlers.contract import Facts, Output, RecordError, RetryableError

TRY_PAUSE = 0.2
MAX_TEXT = 500
EXPIRED = "the image that was sent along has expired"
OF_THIS_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}
)
"""Errors of files that say nothing about a record: no room, a broken disk, too many open files."""
RECORDS_AT_ONCE = 32
"""Records whose pictures a worker process holds in memory; the downloads of as many run side by side."""

log = structlog.get_logger()


class Inputs:
    """What the records of one batch share: what they refer to, and its pictures, one fetch for each source.

    records, small: by their places, those that are to run, and the small pictures that came with the claim.
    """

    def __init__(
        self,
        blobs: Blobs,
        fetcher: Fetcher,
        references: References,
        records: Mapping[int, Record],
        small: Mapping[int, bytes],
    ) -> None:
        self.references = references
        self._records = records
        self._small = small
        self._wanted = Counter(record.source for record in records.values())
        self._blobs = blobs
        self._fetcher = fetcher
        self._tasks: dict[tuple[str | None, str | None], asyncio.Task[bytes]] = {}

    async def get(self, place: int) -> bytes:
        """The bytes of a record's picture. Raises RecordError, Unavailable."""
        record = self._records[place]
        if record.small:
            return self._get_small(record, place)
        if self._wanted[record.source] == 1 and record.source not in self._tasks:
            return await self._load(record)
        task = self._tasks.get(record.source)
        if task is None:
            task = self._tasks[record.source] = asyncio.create_task(self._load(record))
        return await asyncio.shield(task)

    def _get_small(self, record: Record, place: int) -> bytes:
        if place not in self._small:
            log.error("input.missing", record=record.id)
            raise RecordError(410, EXPIRED)
        return self._small[place]

    def release(self, place: int) -> None:
        """The record has ended: a picture that no other record waits for is let go of."""
        record = self._records[place]
        self._wanted[record.source] -= 1
        if not self._wanted[record.source] and (task := self._tasks.pop(record.source, None)):
            task.cancel()

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _load(self, record: Record) -> bytes:
        if record.url is not None:
            return await self._fetcher.fetch(record.url)
        key = record.blob or ""
        try:
            return await self._blobs.get(key)
        except NotFound as error:
            await self._blobs.ping()  # a bucket that is not there lacks every key, which says nothing of this one
            log.error("input.missing", key=key)  # inputs expire long after their batch is done
            raise RecordError(410, EXPIRED) from error


@dataclass(frozen=True, slots=True)
class RecordRun:
    """Runs records of claimed batches. One a worker process."""

    blobs: Blobs
    crew: Crew
    max_tries: int
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RECORDS_AT_ONCE))

    async def __call__(self, batch: Batch, place: int, inputs: Inputs) -> Result:
        """The result of one record. Raises Unavailable for what is no fault of the record."""
        async with self._room:
            try:
                return await self._result(batch, place, inputs)
            finally:
                inputs.release(place)

    async def _result(self, batch: Batch, place: int, inputs: Inputs) -> Result:
        request_id = new_id()
        record = batch.records[place]
        try:
            facts = await self._try(batch, place, await inputs.get(place), inputs.references)
            return Result(place, 200, "OK", request_id, facts)
        except RecordError as error:
            code, text = _refusal(error.code, error.text)
        except Unavailable:
            raise
        except Exception:
            error_id = secrets.token_hex(6)
            log.exception("record.crashed", batch=batch.id, record=record.id, error_id=error_id)
            code, text = 500, f"internal error {error_id}"
        log.info("record.failed", batch=batch.id, record=record.id, code=code, text=text)
        return Result(place, code, text, request_id)

    async def _try(self, batch: Batch, place: int, image: bytes, references: References) -> Facts:
        """Call the handler, again after an error that may pass."""
        for tried in range(1, self.max_tries + 1):
            try:
                return await self._call(batch, place, image, references)
            except (RetryableError, OSError, MemoryError) as error:
                log.warning("record.retry", batch=batch.id, record=batch.records[place].id, tried=tried, exc_info=True)
                if tried < self.max_tries:
                    await asyncio.sleep(TRY_PAUSE * 2**tried)
                elif isinstance(error, OSError) and error.errno in OF_THIS_MACHINE:
                    raise Unavailable() from error
        raise RecordError(500, f"the record failed {self.max_tries} times")

    async def _call(self, batch: Batch, place: int, image: bytes, references: References) -> Facts:
        record = batch.records[place]
        box = self.crew.box(batch.id, contract.Record(place, record.id, image, record.fields), references)
        params = self.crew.specs[batch.type].endpoints[batch.endpoint].model_validate(batch.params)
        try:
            found = await self.crew.call(batch.type, params, box)
            _check_names(found)
            facts = await self._store_outputs(batch, place, found)
            check_storable(facts)
            return facts
        finally:
            box.close()

    async def _store_outputs(self, batch: Batch, place: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The facts with every Output stored and replaced by a reference to its blob."""
        return {name: await self._stored(batch, place, value) for name, value in facts.items()}

    async def _stored(self, batch: Batch, place: int, value: Any) -> Any:
        if isinstance(value, Output):
            key = output_key(batch.workspace, batch.id, batch.lease_seq, place, value.name)
            data = value.data
            await self.blobs.put(key, data if isinstance(data, bytes) else await in_thread(data.read_bytes))
            return stored(key)
        if isinstance(value, Mapping):
            if OUTPUT in value:
                raise ValueError(f"a fact is named {OUTPUT}, which stands for files of ours")
            return await self._store_outputs(batch, place, value)
        if isinstance(value, list | tuple):
            return [await self._stored(batch, place, item) for item in value]
        return value


def _refusal(code: Any, text: Any) -> tuple[int, str]:
    """A handler's refusal as it can be stored and shown; a code that is no HTTP error becomes 500."""
    legal = isinstance(code, int) and 400 <= code <= 599
    plain = text[:MAX_TEXT].encode(errors="replace").decode().replace("\0", "") if isinstance(text, str) else ""
    return code if legal else 500, plain or "the record failed"


def _check_names(facts: Facts) -> None:
    """Raises ValueError for two outputs of one name, of which only one could be kept."""
    names = [output.name for output in _outputs(facts)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several outputs are named {', '.join(sorted(twice))}")


def _outputs(value: Any) -> Iterator[Output]:
    if isinstance(value, Output):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _outputs(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _outputs(item)


def check_storable(facts: Facts) -> None:
    """Raises TypeError or ValueError for facts that are no JSON or hold what a database text or an answer cannot."""
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    if "\\u0000" in text:
        raise ValueError("a fact holds NUL")
    text.encode()  # refuses lone surrogates
    to_json(facts)  # refuses nesting that json still takes
