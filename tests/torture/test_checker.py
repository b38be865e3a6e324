"""The checker names each broken promise: sound evidence passes, and each way to spoil it is found by its word."""

from __future__ import annotations

from dataclasses import replace
from signal import Signals

import pytest

from broker.batches import CANCELLED_CODE, CANCELLED_TEXT, Outcome, Status
from broker.deliveries import State
from tests.torture.checker import check
from tests.torture.content import Act, Input
from tests.torture.customer import Mood
from tests.torture.evidence import KILLED, RECYCLED, AttemptSeen, Evidence
from tests.torture.load import Posted
from tests.torture.plan import Kind
from tests.torture.sound import (
    BATCH,
    BODY,
    CLAIM,
    CRASH,
    DELIVERY,
    END,
    HOOK,
    ID,
    REFUSED,
    RESULTS,
    STORE,
    WORK,
    WORKER,
    Spoil,
    another_was_stopped,
    arrival,
    line,
    shown,
    with_arrivals,
    with_batch,
    with_crash_of_a_holder,
    with_delivery,
    with_exit,
    with_fault,
    with_line,
    with_record,
    with_tries,
    words,
)
from tests.torture.violations import Word

OTHER = replace(BATCH, id="another")
SPOILT: list[tuple[Word, Spoil]] = [
    (Word.NEVER_COMMITTED, lambda sound: replace(sound, batches={}, deliveries=[], arrivals=[])),
    (Word.LOST, with_batch(status=Status.PROCESSING)),
    (Word.PHANTOM, lambda sound: replace(sound, batches={ID: BATCH, OTHER.id: replace(OTHER, number=2)})),
    (Word.PHANTOM, lambda sound: replace(sound, batches={ID: BATCH, OTHER.id: OTHER})),
    (Word.PHANTOM, lambda sound: replace(sound, posted=[Posted(WORK, ids=[ID, OTHER.id])])),
    (Word.REFUSED, lambda sound: replace(sound, posted=[Posted(WORK, ids=[ID], refusals=["500 "])])),
    (Word.RESULT_WRONG, with_record(0, facts={"proof": "of another record"})),
    (Word.RESULT_WRONG, with_record(0, code=500)),
    (Word.RESULT_WRONG, with_record(1, code=200, facts={"proof": REFUSED.proof})),
    (Word.RESULT_WRONG, lambda sound: replace(sound, results={ID: RESULTS[:1]})),
    (Word.RESULT_WRONG, lambda sound: replace(sound, details={ID: {"response": {"records": shown()[::-1]}}})),
    (Word.RESULT_WRONG, lambda sound: replace(sound, details={})),
    (Word.OUTCOME_WRONG, with_batch(outcome=Outcome.SUCCEEDED)),
    (Word.OUTCOME_WRONG, with_batch(outcome=Outcome.CANCELLED)),
    (Word.OUTCOME_WRONG, lambda sound: replace(sound, posted=[Posted(WORK, ids=[ID], cancelled=True)])),
    (Word.RUN_WRONG, with_batch(run=2)),
    (Word.RUN_WRONG, lambda sound: replace(sound, posted=[Posted(WORK, ids=[ID], retried=1, asked=1)])),
    (Word.RESULT_WRONG, with_record(0, code=CANCELLED_CODE, text=CANCELLED_TEXT, facts={})),
    (Word.BLOB_MISSING, lambda sound: replace(sound, files={})),
    (Word.BLOB_MISSING, with_batch(blobs=("in/w/batch/0",))),
    (Word.BLOB_MISSING, with_batch(small={1: None})),
    (Word.BLOB_MISSING, with_batch(small={1: b"another"})),
    (Word.BLOB_MISSING, with_batch(small={})),
    (Word.EVENT_MISSING, lambda sound: replace(sound, deliveries=[], arrivals=[])),
    (Word.EVENT_DUPLICATED, lambda sound: replace(sound, deliveries=[DELIVERY, replace(DELIVERY, id="another")])),
    (Word.WEBHOOK_MISSING, with_arrivals()),
    (Word.WEBHOOK_UNKNOWN, with_arrivals(arrival(3000), arrival(4000, id="another"))),
    (Word.WEBHOOK_DIFFERS, with_arrivals(arrival(3000, Mood.FAIL), arrival(4000, body=BODY + b" "))),
    (Word.SIGNATURE_INVALID, with_arrivals(arrival(3000, signed=False))),
    (Word.DUPLICATE_WITHOUT_FAULT, with_arrivals(arrival(3000), arrival(9000))),
    (Word.STALE_WRITE, with_line(STORE, seq=1, batch_seq=2)),
    (Word.STALE_WRITE, with_line(STORE, old_run=1, old_seq=1)),
    (Word.ILLEGAL_MOVE, with_line(CLAIM, old_status="DONE")),
    (Word.ILLEGAL_MOVE, with_line(CLAIM, seq=0)),
    (Word.ILLEGAL_MOVE, with_line(CLAIM, run=2)),
    (Word.ILLEGAL_MOVE, with_line(END, seq=2)),
    (Word.ILLEGAL_MOVE, with_line(END, outcome="cancelled")),
    (Word.ILLEGAL_MOVE, with_line(END, outcome="cancelled", seq=3)),
    (Word.ILLEGAL_MOVE, with_line(line("delivery", "PROCESSING"))),
    (Word.ILLEGAL_MOVE, with_line(line("sending", State.PENDING, old_status=State.DELIVERED))),
    *((Word.NOT_DELIVERED, with_delivery(state)) for state in (State.PENDING, State.EXHAUSTED, State.STOPPED)),
    (Word.NOT_DELIVERED, with_arrivals(arrival(3000, Mood.FAIL))),
    (Word.NOT_DELIVERED, with_delivery(State.SUPERSEDED)),
    (Word.TRY_MISSING, with_tries()),
    (Word.TRY_MISSING, lambda sound: replace(sound, arrivals=[arrival(3000), arrival(3000)])),
    (Word.TRIES_OVERLAP, with_tries(AttemptSeen(HOOK, 2990, False, lasted=900), AttemptSeen(HOOK, 3880, True))),
    (Word.TRIES_OVERLAP, with_tries(AttemptSeen(HOOK, 2990, None), AttemptSeen(HOOK, 14_480, True))),
    (Word.TRIES_OVERLAP, with_tries(AttemptSeen(HOOK, 2990, False, 60_000), AttemptSeen(HOOK, 14_480, True))),
    (Word.EXIT_STATUS, with_exit(0)),
    (Word.EXIT_STATUS, with_exit(1)),
    (Word.EXIT_STATUS, with_exit(1, ready=False)),
    (Word.EXIT_STATUS, with_exit(KILLED)),
    (Word.EXIT_STATUS, with_exit(RECYCLED)),
    (Word.EXIT_STATUS, with_exit(KILLED, Signals.SIGTERM)),
    (Word.EXIT_STATUS, with_exit(RECYCLED, Signals.SIGTERM)),
    (Word.EXIT_STATUS, with_exit(-15, Signals.SIGTERM)),
    (Word.EXIT_STATUS, with_exit(0, Signals.SIGKILL)),
    (Word.CRASH_COUNTED, with_line(CRASH)),
    (Word.CRASH_COUNTED, with_crash_of_a_holder),
    (Word.CRASH_COUNTED, lambda sound: with_exit(0, Signals.SIGTERM)(with_line(CRASH)(sound))),
    (
        Word.CRASH_COUNTED,
        lambda sound: with_fault(with_line(CRASH, at=60_000)(sound), Kind.WORKER_STOPPED, 500, 900, WORKER),
    ),
    (Word.CRASH_COUNTED, lambda sound: replace(another_was_stopped(sound), database="postgresql")),
]


def test_sound_evidence_passes(sound: Evidence) -> None:
    assert check(sound) == []


@pytest.mark.parametrize(("word", "spoil"), SPOILT)
def test_spoilt_evidence_is_named(sound: Evidence, word: Word, spoil: Spoil) -> None:
    assert word in {violation.word for violation in check(spoil(sound))}


def test_every_word_is_tested() -> None:
    assert {word for word, _ in SPOILT} == set(Word)


def test_a_granted_cancellation_explains_cancelled_records(sound: Evidence) -> None:
    cancelled = with_record(0, code=CANCELLED_CODE, text=CANCELLED_TEXT, facts={})(sound)
    ended = with_batch(outcome=Outcome.CANCELLED)(cancelled)
    told = {"_id": "1-0", "_status": {"code": CANCELLED_CODE, "text": CANCELLED_TEXT}}
    details = {ID: {"response": {"records": [told, shown()[1]]}}}
    assert check(replace(ended, posted=[Posted(WORK, ids=[ID], cancelled=True)], details=details)) == []


def test_a_cancellation_raises_the_fence(sound: Evidence) -> None:
    assert check(with_line(END, outcome="cancelled", seq=2)(sound)) == []


def given_up(sound: Evidence) -> Evidence:
    """Its first record, which did nothing wrong, was announced and given up when its worker was gone."""
    spoilt = with_line(CRASH, crashes=3, suspect=0, at=10_000)(
        with_record(0, code=500, text="given up", facts={})(sound)
    )
    told = {"_id": "1-0", "_status": {"code": 500, "text": "given up"}}
    ended = with_batch(outcome=Outcome.FAILED)(spoilt)
    return replace(ended, details={ID: {"response": {"records": [told, shown()[1]]}}})


@pytest.mark.parametrize("harmed", [{WORKER}, {WORKER + 1}])
def test_a_crash_of_a_worker_that_was_killed_stopped_harmed_or_without_database_is_rightly_counted(
    sound: Evidence, harmed: set[int]
) -> None:
    crashed = replace(with_line(CRASH, at=9500)(sound), harmed=harmed)
    assert words(crashed) == (set() if WORKER in harmed else {Word.CRASH_COUNTED})
    assert check(with_exit(KILLED, Signals.SIGKILL)(crashed)) == []
    assert check(with_fault(crashed, Kind.WORKER_STOPPED, 4000, 8000, WORKER)) == []
    assert check(with_fault(crashed, Kind.DATABASE_LOCKED, 4000, 8000)) == []


def test_a_crash_of_a_record_s_own_process_is_counted_while_its_worker_holds_the_batch(sound: Evidence) -> None:
    harmful = replace(WORK, inputs=(*WORK.inputs, Input(9, True, Act.DIE)))
    crashed = with_line(CRASH, lease_until=2000)(sound)
    assert Word.CRASH_COUNTED in words(crashed)
    assert Word.CRASH_COUNTED not in words(replace(crashed, posted=[Posted(harmful, ids=[ID])]))


def test_an_innocent_record_is_not_given_up_for_an_outage(sound: Evidence) -> None:
    outage = with_fault(given_up(sound), Kind.DATABASE_LOCKED, 4000, 8000)
    assert {violation.word for violation in check(outage)} == {Word.RESULT_WRONG}


def test_a_worker_that_was_stopped_for_long_may_be_ended_by_its_watchdog(sound: Evidence) -> None:
    for asked in (None, Signals.SIGKILL, Signals.SIGTERM):
        ended = with_exit(1, asked)(sound)
        assert Word.EXIT_STATUS in words(ended)
        assert Word.EXIT_STATUS not in words(replace(ended, suspended=[WORKER]))


def test_an_innocent_record_may_be_given_up_when_each_of_its_workers_was_killed(sound: Evidence) -> None:
    assert check(with_exit(KILLED, Signals.SIGKILL)(given_up(sound))) == []
    stopped = with_fault(given_up(sound), Kind.WORKER_STOPPED, 4000, 8000, WORKER)
    assert check(replace(stopped, suspended=[WORKER])) == []


@pytest.mark.parametrize(
    ("status", "asked", "ready"),
    [
        (0, Signals.SIGTERM, True),
        (KILLED, Signals.SIGKILL, True),
        (KILLED, None, True),
        (KILLED, Signals.SIGTERM, True),
        (RECYCLED, None, True),
        (1, None, False),
    ],
)
def test_an_end_that_is_accounted_for_is_legal(
    sound: Evidence, status: int, asked: Signals | None, ready: bool
) -> None:
    """Asked for, by a record that harms, or at the start while the database was away."""
    ended = with_exit(status, asked, ready=ready)(replace(sound, harmed={WORKER}))
    assert check(with_fault(ended, Kind.DATABASE_LOCKED, 5000, 8000)) == []


@pytest.mark.parametrize(("cancelled", "run"), [(False, 1), (True, 2)])
def test_cancelled_records_are_right_only_in_the_run_that_was_cancelled(
    sound: Evidence, cancelled: bool, run: int
) -> None:
    records = with_record(0, code=CANCELLED_CODE, text=CANCELLED_TEXT, facts={})(sound)
    posted = [Posted(WORK, ids=[ID], cancelled=cancelled, retried=run - 1, asked=run - 1)]
    assert Word.RESULT_WRONG in words(replace(with_batch(run=run)(records), posted=posted))
