"""What a run may find: one word for each way to break a promise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Word(StrEnum):
    """Stable names of violations.

    NEVER_COMMITTED: accepted, but the database has no such batch. LOST: accepted, but not DONE. PHANTOM: a batch that
    nobody posted, or two of one key. REFUSED: a good POST got neither 2xx nor 503. RESULT_WRONG: DONE with a wrong
    result, in SQL, in the API or in the webhook. OUTCOME_WRONG: not what its results and a granted cancellation make
    it. RUN_WRONG: more or fewer runs than were asked for. BLOB_MISSING: a live batch's input or output is gone or has
    other bytes. EVENT_MISSING, EVENT_DUPLICATED: not exactly one completion event for a (batch, run).
    WEBHOOK_MISSING: an owed webhook that never came. WEBHOOK_UNKNOWN: one came that was never owed. WEBHOOK_DIFFERS:
    its copies, or the row, are not byte-identical. SIGNATURE_INVALID. DUPLICATE_WITHOUT_FAULT: sent again though the
    receiver had thanked and nothing was broken. NOT_DELIVERED: a webhook was given up, or is still owed, or is noted as
    thanked for when it was not. TRY_MISSING: more copies than tries. TRIES_OVERLAP: two tries at once. STALE_WRITE: a
    write under an older lease. ILLEGAL_MOVE: a change of state that the state machine does not have. EXIT_STATUS: a
    process ended by itself though no record harmed it, or not with 0 when it was told to. CRASH_COUNTED: a crash was
    counted of a worker that nothing had befallen, so a graceful give-back burned an attempt.
    """

    NEVER_COMMITTED = "never-committed"
    LOST = "lost"
    PHANTOM = "phantom"
    REFUSED = "refused"
    RESULT_WRONG = "result-wrong"
    OUTCOME_WRONG = "outcome-wrong"
    RUN_WRONG = "run-wrong"
    BLOB_MISSING = "blob-missing"
    EVENT_MISSING = "event-missing"
    EVENT_DUPLICATED = "event-duplicated"
    WEBHOOK_MISSING = "webhook-missing"
    WEBHOOK_UNKNOWN = "webhook-unknown"
    WEBHOOK_DIFFERS = "webhook-differs"
    SIGNATURE_INVALID = "signature-invalid"
    DUPLICATE_WITHOUT_FAULT = "duplicate-without-fault"
    NOT_DELIVERED = "not-delivered"
    TRY_MISSING = "try-missing"
    TRIES_OVERLAP = "tries-overlap"
    STALE_WRITE = "stale-write"
    ILLEGAL_MOVE = "illegal-move"
    EXIT_STATUS = "exit-status"
    CRASH_COUNTED = "crash-counted"


@dataclass(frozen=True)
class Violation:
    """One broken promise. subject: the batch, delivery or process that it is about."""

    word: Word
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.word}: {self.subject}: {self.what}"
