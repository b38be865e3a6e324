"""Batches and their records: the frozen values that everything else passes around, and the legal moves. No I/O.

The life of a batch; every arrow is one conditional UPDATE in `store/`:

    CREATED ──claim──▶ PROCESSING ──finish──▶ DONE ──explicit retry──▶ CREATED
       ▲                   │
       └─lease over, give-back   CREATED | PROCESSING | PAUSED ──cancel──▶ DONE (cancelled)
    CREATED ◀──▶ PAUSED,  a parent's PROCESSING ◀──▶ PAUSED
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from enum import StrEnum
from random import getrandbits
from typing import Any

from msgspec import Struct


class Status(StrEnum):
    """Where a batch stands."""

    CREATED = "CREATED"
    PROCESSING = "PROCESSING"
    PAUSED = "PAUSED"
    DONE = "DONE"


class Outcome(StrEnum):
    """How a DONE batch ended: all records good, some, none, or cancelled before all had a result."""

    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Refusal(StrEnum):
    """Why a batch stays as it is, in words for whoever asked for a move that is not legal."""

    ENDED = "The batch is done already."
    NOT_DONE = "The batch is not done yet."
    NOT_WAITING = "Only a batch that waits can be paused."
    NOT_PAUSED = "The batch is not paused."
    NOTHING_FAILED = "No record of the batch failed; ask for all records to run it again."
    INPUTS_EXPIRED = "A picture that was sent along is no longer kept."
    OUTPUTS_EXPIRED = "A picture that a good record made is no longer kept; ask for all records to run it again."
    RELATED = "The batch is a part of a larger one, or has parts."


CANCELLED_CODE = 499
CANCELLED_TEXT = "cancelled"
OUTPUT = "$output"
"""The only key of what stands in facts for a stored output; its value is the blob's key."""


class Record(Struct, frozen=True):
    """One input of an accepted batch: exactly one of `url`, `blob` (a key in the blob store) and `small` is set.

    small: its picture came along and lies in SQL, beside the batch. `id_given` tells whether the id came from the
    customer; `fields` are the customer's own keys.
    """

    id: str
    url: str | None = None
    blob: str | None = None
    id_given: bool = False
    fields: Mapping[str, Any] = {}
    small: bool = False

    @property
    def came_along(self) -> bool:
        """Whether the picture was sent with the batch, and so is kept here for a while."""
        return self.small or self.blob is not None

    @property
    def source(self) -> tuple[str | None, str | None]:
        """Records with an equal source share one fetch."""
        return (self.url, self.blob)


class Result(Struct, frozen=True):
    """What became of one record. `facts` are the handler's, with stored outputs as `{"$output": blob key}`.

    finished: ms since 1970, known once it is stored.
    """

    index: int
    code: int
    text: str
    request_id: str
    facts: Mapping[str, Any] = {}
    finished: int = 0

    @property
    def ok(self) -> bool:
        return 200 <= self.code < 300

    @property
    def has_outputs(self) -> bool:
        return _has_output(self.facts)


def _has_output(value: Any) -> bool:
    if isinstance(value, Mapping):
        return OUTPUT in value or any(map(_has_output, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_output, value))


class Webhook(Struct, frozen=True):
    """Where a batch's completion is announced, with the customer's own headers."""

    url: str
    headers: Mapping[str, str] = {}


class Draft(Struct, frozen=True):
    """A record as it was sent: exactly one of `url` and `data` (the decoded picture) is set; no `id` = make one."""

    url: str | None
    data: bytes | None
    id: str | None
    fields: Mapping[str, Any]


class Submission(Struct, frozen=True):
    """A POST, read and understood by its dialect, not yet checked against what the type's handler takes.

    params: keys that the handler may know. extra: JSON text of what the dialect wants to show again later.
    workspace: the one asked for; None = the token's home.
    """

    dialect: str
    type: str
    endpoint: str | None
    params: Mapping[str, Any]
    records: tuple[Draft, ...]
    extra: str
    webhook: Webhook | None
    workspace: str | None


class IdempotencyKey(Struct, frozen=True):
    """The customer's name for a POST, by which a repetition is told; `body_hash` is the SHA-256 of the raw body."""

    name: str
    body_hash: bytes


class Pin(Struct, frozen=True):
    """A version of a stored document that a batch keeps from its acceptance to its end."""

    kind: str
    id: str
    version: int


class NewBatch(Struct, frozen=True):
    """An accepted batch on its way into SQL. Texts are JSON; `webhook` is an encrypted box; times are not yet known.

    pictures: of its small records, by their places.
    """

    id: str
    workspace: str
    dialect: str
    type: str
    endpoint: str
    params: str
    records: str
    extra: str
    size: int
    base_url: str
    pinned: tuple[Pin, ...] = ()
    webhook: bytes | None = None
    external_id: str | None = None
    key: IdempotencyKey | None = None
    pictures: Mapping[int, bytes] = {}

    @property
    def weight(self) -> int:
        """About the bytes that its rows take."""
        pictures = sum(map(len, self.pictures.values()))
        return len(self.params) + len(self.records) + len(self.extra) + pictures + 500


class BatchHead(Struct, frozen=True):
    """What a list or a status shows. `created` is in milliseconds since 1970."""

    id: str
    workspace: str
    dialect: str
    type: str
    status: Status
    created: int


class Batch(Struct, frozen=True):
    """A batch as it stands in SQL, with everything its dialect needs to show it. Times in ms since 1970."""

    id: str
    workspace: str
    dialect: str
    type: str
    endpoint: str
    params: Mapping[str, Any]
    records: tuple[Record, ...]
    extra: str
    base_url: str
    status: Status
    outcome: Outcome | None
    run: int
    lease_seq: int
    created: int
    modified: int
    pinned: tuple[Pin, ...] = ()
    webhook: bytes | None = None
    external_id: str | None = None
    parent: str | None = None


class Counts(Struct, frozen=True):
    """Of how many records a batch has, how many have a result, a good one, a bad one; a parent's are its children's."""

    records: int
    finished: int
    succeeded: int
    failed: int


class Overview(Struct, frozen=True):
    """How a batch stands, whatever its dialect, without its records. Times in ms since 1970."""

    id: str
    external_id: str | None
    workspace: str
    dialect: str
    type: str
    endpoint: str
    status: Status
    outcome: Outcome | None
    run: int
    crashes: int
    created: int
    modified: int
    finished: int | None
    counts: Counts


def outcome_of(results: Sequence[Result]) -> Outcome:
    """The outcome that a full set of results gives. Only who cancels a batch makes its outcome cancelled."""
    good = sum(result.ok for result in results)
    if good == len(results):
        return Outcome.SUCCEEDED
    return Outcome.PARTIAL if good else Outcome.FAILED


def new_id() -> str:
    """A UUIDv7 (RFC 9562 5.7, 6.2 method 3): milliseconds, 12 bits of a finer fraction, then random bits.

    Ids made later in one process sort later, down to a quarter of a microsecond. They are unique, not secret, so the
    random bits are not asked of the kernel: that would let go of the GIL and wake who waits for it, twice a POST.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    digits = f"{milliseconds << 80 | 7 << 76 | rest * 4096 // 1_000_000 << 64 | 0b10 << 62 | getrandbits(62):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def first_id(milliseconds: int) -> str:
    """The least UUIDv7 of a time in ms since 1970: ids made from then on are not less."""
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 0b10 << 62))


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form, as ids are stored."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
