"""The checker names each broken promise: sound evidence passes, and each way to spoil it is found by its word."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from broker.batches import CANCELLED_CODE, CANCELLED_TEXT, Outcome, Result, Status
from broker.deliveries import EVENT_DONE, State
from broker.media.links import stored
from tests.integration.receiver import Post
from tests.torture.check_webhooks import was_thanked_late
from tests.torture.checker import check
from tests.torture.content import Act, Input, Work
from tests.torture.customer import Arrival, Mood
from tests.torture.driver import Injected
from tests.torture.evidence import KILLED, RECYCLED, AttemptSeen, BatchSeen, DeliverySeen, Evidence
from tests.torture.fleet import Exit
from tests.torture.history import Line
from tests.torture.load import Posted
from tests.torture.plan import AWAY, Fault, Kind
from tests.torture.plugin.torture_types import output_of
from tests.torture.violations import Word

ID, HOOK = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-0000000000aa"
WORK = Work(1, "torture", "prove", (Input(7, True), Input(8, True, Act.REFUSE)), webhook=True)
GOOD, REFUSED = WORK.expected()
KEY = f"out/w/{ID}/1/0/proof.bin"
WORKER = 77
Spoil = Callable[[Evidence], Evidence]


def line(what: str, status: str, **values: Any) -> Line:
    unset = dict.fromkeys(Line.__dataclass_fields__)
    return Line(**{**unset, "what": what, "batch": ID, "run": 1, "status": status, "at": 1000, **values})


def arrival(
    at: int,
    mood: Mood = Mood.GOOD,
    signed: bool = True,
    body: bytes | None = None,
    id: str = HOOK,
    sender: int | None = WORKER,
    second: int | None = None,
) -> Arrival:
    """second: of its signature."""
    stamp = () if second is None else (("webhook-timestamp", str(second)),)
    post = Post("/hook?batch=1", (("webhook-id", id), *stamp), BODY if body is None else body)
    return Arrival(at, 1, post, mood, signed, sender)


def shown() -> list[dict[str, Any]]:
    return [
        {"_id": "1-0", "proof": GOOD.proof, "_status": {"code": 200, "text": "OK"}},
        {"_id": "1-1", "_status": {"code": 422, "text": REFUSED.proof}},
    ]


BODY = json.dumps({"id": ID, "response": {"records": shown()}}).encode()
BATCH = BatchSeen(ID, 1, Status.DONE, Outcome.PARTIAL, 1, True, (), created=1000, finished=2000)
DELIVERY = DeliverySeen(HOOK, ID, 1, EVENT_DONE, State.DELIVERED, BODY)
RESULTS = (
    Result(0, 200, "OK", "r", {"proof": GOOD.proof, "picture": stored(KEY)}),
    Result(1, 422, REFUSED.proof, "r"),
)
CLAIM = line("batch", "PROCESSING", old_status="CREATED", old_run=1, old_seq=0, seq=1)
END = line("batch", "DONE", old_status="PROCESSING", old_run=1, old_seq=1, seq=1, outcome="partial")
STORE = line("result", "PROCESSING", seq=1, batch_seq=1, position=0)


@pytest.fixture
def sound(tmp_path: Path) -> Evidence:
    """The evidence of one batch that went well."""
    output = tmp_path / "proof.bin"
    output.write_bytes(output_of(GOOD.proof))
    return Evidence(
        posted=[Posted(WORK, ids=[ID])],
        batches={ID: BATCH},
        results={ID: RESULTS},
        deliveries=[DELIVERY],
        history=[
            line("batch", "CREATED", seq=0),
            CLAIM,
            STORE,
            END,
            line("delivery", "DONE"),
            line("sending", State.DELIVERED, old_status=State.PENDING),
        ],
        arrivals=[arrival(3000)],
        attempts=[AttemptSeen(HOOK, 2990, True, lasted=10)],
        details={ID: {"response": {"records": shown()}}},
        files={KEY: output},
    )


def with_record(place: int, **values: Any) -> Spoil:
    return lambda sound: replace(
        sound, results={ID: [replace(r, **values) if r.index == place else r for r in RESULTS]}
    )


def with_batch(**values: Any) -> Spoil:
    return lambda sound: replace(sound, batches={ID: replace(BATCH, **values)})


def with_line(added: Line, **values: Any) -> Spoil:
    return lambda sound: replace(sound, history=[*sound.history, replace(added, **values)])


def with_arrivals(*arrivals: Arrival) -> Spoil:
    """Each with its try."""
    tries = [AttemptSeen(one.id, one.left - 10, one.mood.thanks, lasted=10) for one in arrivals]
    return lambda sound: replace(sound, arrivals=arrivals, attempts=tries)


def with_tries(*tries: AttemptSeen) -> Spoil:
    return lambda sound: replace(sound, attempts=tries)


def with_delivery(state: State) -> Spoil:
    return lambda sound: replace(sound, deliveries=[replace(DELIVERY, state=state)])


def with_exit(status: int, asked: Signals | None = None, *, ready: bool = True) -> Spoil:
    return lambda sound: replace(sound, exits=[Exit("worker 0", WORKER, 9000, status, asked, Path(), ready)])


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


@pytest.mark.parametrize("mood", [Mood.FAIL, Mood.HANG, Mood.RESET, Mood.LATE])
def test_a_receiver_that_did_not_thank_explains_another_copy(sound: Evidence, mood: Mood) -> None:
    assert check(with_arrivals(arrival(3000, mood), arrival(9000))(sound)) == []


DOUBLED = {Word.DUPLICATE_WITHOUT_FAULT}
OF_A_STOPPED_SENDER = (AttemptSeen(HOOK, -9000, None), AttemptSeen(HOOK, 2990, True, lasted=10))
"""Its own try, whose lease was over when the next began."""


def sent_twice(
    sound: Evidence,
    good: bool | None,
    sender: int | None = WORKER,
    again: int = 15_000,
    lasted: int | None = None,
    *,
    timed_out: bool = False,
) -> Evidence:
    """A try whose POST was thanked for at 3000 and noted as `good`, and then another."""
    doubled = with_arrivals(arrival(3000, sender=sender), arrival(again + 10))(sound)
    lasted = 10 if lasted is None and good is not None else lasted
    first = AttemptSeen(HOOK, 2990, good, lasted, timed_out)
    return replace(doubled, attempts=[AttemptSeen(HOOK, again, True, lasted=10), first])


def words(evidence: Evidence) -> set[Word]:
    return {violation.word for violation in check(evidence)}


def with_fault(evidence: Evidence, kind: Kind, began: int, ended: int, stopped: int | None = None) -> Evidence:
    return replace(evidence, injected=[Injected(Fault(0, kind), began, ended, stopped)])


def with_end(evidence: Evidence, pid: int, at: int, slot: str = "worker 0", status: int = KILLED) -> Evidence:
    asked = None if status else Signals.SIGTERM
    return replace(evidence, exits=[Exit(slot, pid, at, status, asked, Path())], harmed={pid})


@pytest.mark.parametrize("good", [False, True, None])
def test_thanks_in_time_explain_no_other_copy_however_they_are_noted(sound: Evidence, good: bool | None) -> None:
    assert words(sent_twice(sound, good)) == DOUBLED


@pytest.mark.parametrize(
    ("timed_out", "lasted", "found"), [(True, 1500, set()), (True, 1499, DOUBLED), (False, 1500, DOUBLED)]
)
def test_only_a_try_that_took_its_whole_time_was_over_before_the_thanks(
    sound: Evidence, timed_out: bool, lasted: int, found: set[Word]
) -> None:
    evidence = sent_twice(sound, good=False, lasted=lasted, timed_out=timed_out)
    assert words(evidence) == found
    assert was_thanked_late(evidence, arrival(3000)) is (not found)
    assert not was_thanked_late(evidence, arrival(3000, Mood.FAIL))


def test_a_try_that_a_fault_cut_off_explains_another_copy(sound: Evidence) -> None:
    assert words(with_fault(sent_twice(sound, good=False), Kind.WORKER_STOPPED, 3100, 7100, WORKER)) == set()


@pytest.mark.parametrize(
    ("began", "ended", "found"), [(0, 989, DOUBLED), (0, 990, set()), (6000, 7000, set()), (6001, 7000, DOUBLED)]
)
def test_a_database_that_was_away_explains_a_copy_only_around_it(
    sound: Evidence, began: int, ended: int, found: set[Word]
) -> None:
    """From the try's start until three seconds after its thanks; and a fault is felt for two seconds."""
    assert words(with_fault(sent_twice(sound, None), Kind.DATABASE_LOCKED, began, ended)) == found


@pytest.mark.parametrize(("good", "found"), [(False, set()), (True, DOUBLED)])
def test_a_copy_that_was_read_late_belongs_to_the_try_that_signed_it(
    sound: Evidence, good: bool, found: set[Word]
) -> None:
    twice = sent_twice(sound, good, lasted=1500, timed_out=not good)
    late = with_arrivals(arrival(15_005, second=3), arrival(15_010, second=15))(twice)
    assert words(replace(late, attempts=twice.attempts)) == found


@pytest.mark.parametrize("kind", [Kind.VALKEY_EMPTIED, Kind.VALKEY_KILLED, Kind.VALKEY_CUT, Kind.WEB_KILLED])
@pytest.mark.parametrize("good", [True, None])
def test_a_fault_that_doubles_no_send_explains_no_copy(sound: Evidence, kind: Kind, good: bool | None) -> None:
    assert words(with_fault(sent_twice(sound, good), kind, 2000, 14_000)) == DOUBLED


@pytest.mark.parametrize(("status", "found"), [(KILLED, set()), (RECYCLED, DOUBLED), (0, DOUBLED)])
def test_the_death_of_its_sender_explains_another_copy_and_an_end_in_good_order_does_not(
    sound: Evidence, status: int, found: set[Word]
) -> None:
    assert words(with_end(sent_twice(sound, None), WORKER, at=3500, status=status)) == found


def test_the_end_of_another_worker_explains_no_copy(sound: Evidence) -> None:
    assert words(with_end(sent_twice(sound, None), WORKER + 1, at=3500)) == DOUBLED


@pytest.mark.parametrize("at", [2900, 9000])
def test_an_end_at_another_time_explains_no_copy(sound: Evidence, at: int) -> None:
    assert words(with_end(sent_twice(sound, None), WORKER, at)) == DOUBLED


def test_no_end_explains_a_copy_whose_thanks_were_recorded(sound: Evidence) -> None:
    assert words(with_end(sent_twice(sound, True, again=9000), WORKER, at=3500)) == DOUBLED


@pytest.mark.parametrize(("slot", "found"), [("worker 0", set()), ("web 0", DOUBLED)])
def test_a_sender_that_nobody_saw_was_a_worker_that_ended(sound: Evidence, slot: str, found: set[Word]) -> None:
    assert words(with_end(sent_twice(sound, None, sender=None), WORKER, at=3500, slot=slot)) == found


@pytest.mark.parametrize(("stopped", "found"), [(WORKER, set()), (WORKER + 1, DOUBLED), (None, DOUBLED)])
def test_a_stop_explains_only_what_the_stopped_worker_sent(
    sound: Evidence, stopped: int | None, found: set[Word]
) -> None:
    others_write = with_line(line("sending", State.DELIVERED, old_status=State.DELIVERED, at=5000))(sound)
    assert words(with_fault(sent_twice(others_write, None), Kind.WORKER_STOPPED, 3100, 7100, stopped)) == found


@pytest.mark.parametrize(
    ("second", "stopped", "ended", "found"),
    [(2, WORKER, 9005, set()), (2, 78, 9005, DOUBLED), (9, WORKER, 9005, DOUBLED), (9, WORKER, 9015, DOUBLED)],
)
def test_a_copy_that_a_stopped_worker_had_signed_before_is_no_other_try(
    sound: Evidence, second: int, stopped: int, ended: int, found: set[Word]
) -> None:
    late = replace(sound, arrivals=[arrival(3000), arrival(9010, second=second)], attempts=OF_A_STOPPED_SENDER)
    assert words(with_fault(late, Kind.WORKER_FROZEN, 2995, ended, stopped)) == found


@pytest.mark.parametrize(("stopped", "found"), [(78, set()), (None, DOUBLED)])
def test_a_sender_that_nobody_saw_was_a_worker_that_was_stopped(
    sound: Evidence, stopped: int | None, found: set[Word]
) -> None:
    late = replace(sound, arrivals=[arrival(3000), arrival(9010, second=2, sender=None)], attempts=OF_A_STOPPED_SENDER)
    assert words(with_fault(late, Kind.WORKER_FROZEN, 2995, 9005, stopped)) == found


@pytest.mark.parametrize("database", AWAY)
def test_a_stop_in_which_nobody_could_write_explains_what_others_sent(sound: Evidence, database: str) -> None:
    """SQLite has one lock for all, and whoever is stopped may hold it."""
    evidence = with_fault(sent_twice(sound, None), Kind.WORKER_FROZEN, 3100, 15_100, WORKER + 1)
    assert words(replace(evidence, database=database)) == (set() if database == "sqlite" else DOUBLED)


@pytest.mark.parametrize("database", AWAY)
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.name.startswith("DATABASE_") or kind is Kind.DISK_FULL])
def test_a_database_that_was_away_explains_another_copy(sound: Evidence, database: str, kind: Kind) -> None:
    evidence = replace(with_fault(sent_twice(sound, None), kind, 3100, 5000), database=database)
    assert words(evidence) == (set() if kind in AWAY[database] else DOUBLED)


@pytest.mark.parametrize(("again", "found"), [(14_400, DOUBLED), (14_500, set())])
def test_thanks_recorded_after_the_lease_explain_another_copy(sound: Evidence, again: int, found: set[Word]) -> None:
    assert words(with_fault(sent_twice(sound, True, again=again), Kind.DATABASE_LOCKED, 3100, 13_000)) == found


def given_up(sound: Evidence) -> Evidence:
    """Its first record, which did nothing wrong, was announced and given up when its worker was gone."""
    moved = {"old_status": "PROCESSING", "old_run": 1, "old_seq": 1, "seq": 1, "suspect": 0}
    crash = line("batch", "CREATED", **moved, crashes=3, owner=f"host:{WORKER}:id")
    spoilt = with_line(crash)(with_record(0, code=500, text="given up", facts={})(sound))
    told = {"_id": "1-0", "_status": {"code": 500, "text": "given up"}}
    ended = with_batch(outcome=Outcome.FAILED)(spoilt)
    return replace(ended, details={ID: {"response": {"records": [told, shown()[1]]}}})


def test_an_innocent_record_is_not_given_up_for_an_outage(sound: Evidence) -> None:
    assert {violation.word for violation in check(given_up(sound))} == {Word.RESULT_WRONG}


def test_an_innocent_record_may_be_given_up_when_each_of_its_workers_was_killed(sound: Evidence) -> None:
    assert check(with_exit(KILLED, Signals.SIGKILL)(given_up(sound))) == []
    assert check(replace(given_up(sound), suspended=[WORKER])) == []


@pytest.mark.parametrize(("at", "found"), [(3350, set()), (3351, DOUBLED)])
def test_who_was_stopped_held_the_lock_only_if_nothing_was_written_from_then_on(
    sound: Evidence, at: int, found: set[Word]
) -> None:
    """But for what was under way, which may be noted for a quarter of a second."""
    wrote = with_line(line("sending", State.DELIVERED, old_status=State.DELIVERED, at=at))(sent_twice(sound, None))
    assert words(with_fault(wrote, Kind.WORKER_FROZEN, 3100, 15_100, WORKER + 1)) == found


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
