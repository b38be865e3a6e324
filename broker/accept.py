"""Taking a batch: check it against its type, store what came along, commit, nudge. From the return on it is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import ValidationError
from pydantic_core import to_json

from broker.admission import Admission
from broker.batches import (
    Batch,
    Draft,
    IdempotencyKey,
    NewBatch,
    Pin,
    Record,
    Status,
    Submission,
    new_id,
)
from broker.deliveries import seal_target
from broker.errors import Conflict, Invalid, Unavailable
from broker.media.blobs import Blobs, input_key
from broker.queue.nudge import Nudger
from broker.secrets import Vault
from broker.store.batches import insert_batches
from broker.store.database import Database
from broker.store.documents import find_version
from broker.store.keys import find_keyed
from broker.store.rows import dump_records
from handlers.contract import Params, Spec
from handlers.registry import Registry

SMALL_PICTURE = 32 * 1024
"""Bytes up to which a picture that was sent along lies in SQL: a file of its own has itself and its folders flushed."""
KEY_USED = "This Idempotency-Key was used with another body."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Accept:
    """The use case. One a web process."""

    database: Database
    blobs: Blobs
    vault: Vault
    registry: Registry
    nudger: Nudger
    admission: Admission

    async def __call__(
        self, submission: Submission, workspace: str, base_url: str, key: IdempotencyKey | None = None
    ) -> Batch:
        """Accept a submission into `workspace`; the batch returned is committed and flushed to disk.

        A repetition of a POST with the same key gets the first one's batch, as it stands by now. base_url is what links
        start with when PUBLIC_URL is not set. Raises Invalid naming the field, Conflict for a key that was used for
        something else, TooManyQueued, Unavailable.
        """
        if key is None:
            batch = await self._take(submission, workspace, base_url, None)
        else:
            # A look before anything is judged or stored: what was accepted stays so, whatever the limits say by now.
            batch = (
                await self._first(key, submission.dialect, workspace)
                or await self._take(submission, workspace, base_url, key)
                or await self._first(key, submission.dialect, workspace)
            )
        if batch is None:
            raise Unavailable(retry_after=1)  # the batch that had the key was deleted a moment ago
        return batch

    async def _first(self, key: IdempotencyKey, dialect: str, workspace: str) -> Batch | None:
        """The batch that was accepted with this key. Raises Conflict unless it was the same POST."""
        async with self.database.reading() as connection:
            found = await find_keyed(connection, workspace, key.name)
        if found is None:
            return None
        batch, body_hash = found
        if (batch.dialect, body_hash) != (dialect, key.body_hash):
            raise Conflict(KEY_USED)
        return batch

    async def _take(
        self, submission: Submission, workspace: str, base_url: str, key: IdempotencyKey | None
    ) -> Batch | None:
        """Check, store and commit; None when another POST with the key did so meanwhile."""
        spec, endpoint, params = self._understand(submission)
        pinned = await self._pin(spec, params, workspace)
        await self.admission.admit(workspace)
        id = new_id()
        pictures = {place: draft.data for place, draft in enumerate(submission.records) if draft.data is not None}
        small = {place: data for place, data in pictures.items() if len(data) <= SMALL_PICTURE}
        large = {place: data for place, data in pictures.items() if place not in small}
        blobs = await self._store(large, workspace, id)
        records = tuple(
            [_record(draft, blobs.get(place), place in small) for place, draft in enumerate(submission.records)]
        )
        shown = params.model_dump(mode="json", by_alias=True)
        row = NewBatch(
            id=id,
            workspace=workspace,
            dialect=submission.dialect,
            type=spec.type,
            endpoint=endpoint,
            params=to_json(shown).decode(),
            records=dump_records(records),
            extra=submission.extra,
            size=len(records),
            base_url=base_url,
            pinned=pinned,
            webhook=seal_target(self.vault, submission.webhook) if submission.webhook else None,
            key=key,
            pictures=small,
        )
        created = await self.database.writer.write(insert_batches, row, weight=row.weight)
        if created is None:
            await self._forget(records, workspace)
            return None
        self.nudger.ring([(spec.type, id)])
        log.debug("batch.accepted", batch=id, type=spec.type, endpoint=endpoint, records=len(records))
        return _accepted(row, shown, records, created)

    async def _forget(self, records: tuple[Record, ...], workspace: str) -> None:
        """Undo what was done for a batch that is not stored. A blob that cannot be removed is found as an orphan."""
        self.admission.release(workspace)
        for record in records:
            if record.blob is not None:
                with suppress(Unavailable):
                    await self.blobs.remove(record.blob)

    def _understand(self, submission: Submission) -> tuple[Spec, str, Params]:
        """The type, the endpoint and the checked parameters."""
        spec = self.registry.get(submission.type)
        if spec is None:
            raise Invalid(fields={"type": [_no_choice(submission.type, self.registry)]})
        endpoint = spec.default_endpoint if submission.endpoint is None else submission.endpoint
        model = spec.endpoints.get(endpoint)
        if model is None:
            raise Invalid(fields={"endpoint": [_no_choice(endpoint, spec.endpoints)]})
        return spec, endpoint, _checked(model, submission.params)

    async def _pin(self, spec: Spec, params: Params, workspace: str) -> tuple[Pin, ...]:
        """The documents that the parameters refer to, each in the version that this batch will use to its end."""
        pins = []
        for ref in spec.references(params):
            if ref.kind in spec.items:
                continue
            async with self.database.reading() as connection:
                version = await find_version(connection, workspace, ref.kind, ref.id, ref.version)
            if version is None:
                raise Invalid(fields={ref.param or ref.kind: [f'There is no {ref.kind} "{ref.id}".']})
            pins.append(Pin(ref.kind, ref.id, version))
        return tuple(pins)

    async def _store(self, pictures: Mapping[int, bytes], workspace: str, batch: str) -> Mapping[int, str]:
        """The keys of pictures, by their places.

        They go to the blob store first, so that no row ever refers to a missing one.
        """
        keys = {place: input_key(workspace, batch, place) for place in pictures}
        if keys:
            await asyncio.gather(*(self.blobs.put(key, pictures[place]) for place, key in keys.items()))
        return keys


def _record(draft: Draft, blob: str | None, small: bool) -> Record:
    return Record(draft.id or new_id(), draft.url, blob, draft.id is not None, draft.fields, small)


def _checked(model: type[Params], params: Mapping[str, Any]) -> Params:
    try:
        return model.model_validate(params)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for problem in error.errors():
            problems.setdefault(".".join(map(str, problem["loc"])), []).append(problem["msg"])
        raise Invalid(fields=problems) from error


def _no_choice(value: str, choices: Mapping[str, Any]) -> str:
    return f'"{value}" is not a valid choice. Choices: {", ".join(choices)}.'


def _accepted(row: NewBatch, params: Mapping[str, Any], records: tuple[Record, ...], created: int) -> Batch:
    return Batch(
        id=row.id,
        workspace=row.workspace,
        dialect=row.dialect,
        type=row.type,
        endpoint=row.endpoint,
        params=params,
        records=records,
        extra=row.extra,
        base_url=row.base_url,
        status=Status.CREATED,
        outcome=None,
        run=1,
        lease_seq=0,
        created=created,
        modified=created,
        pinned=row.pinned,
        webhook=row.webhook,
    )
