"""What explains that a webhook was sent again, to the moment, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from signal import Signals

import pytest

from broker.deliveries import State
from tests.torture.check_webhooks import was_thanked_late
from tests.torture.checker import check
from tests.torture.customer import Mood
from tests.torture.evidence import KILLED, RECYCLED, AttemptSeen, Evidence
from tests.torture.fleet import Exit
from tests.torture.plan import AWAY, Kind
from tests.torture.sound import (
    HOOK,
    WORKER,
    arrival,
    line,
    with_arrivals,
    with_fault,
    with_line,
    words,
)
from tests.torture.violations import Word

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


def with_end(evidence: Evidence, pid: int, at: int, slot: str = "worker 0", status: int = KILLED) -> Evidence:
    asked = None if status else Signals.SIGTERM
    return replace(evidence, exits=[Exit(slot, pid, at, status, asked, Path())], harmed={pid})


@pytest.mark.parametrize("mood", [Mood.FAIL, Mood.HANG, Mood.RESET, Mood.LATE])
def test_a_receiver_that_did_not_thank_explains_another_copy(sound: Evidence, mood: Mood) -> None:
    assert check(with_arrivals(arrival(3000, mood), arrival(9000))(sound)) == []


@pytest.mark.parametrize("good", [False, True, None])
def test_thanks_in_time_explain_no_other_copy_however_they_are_noted(sound: Evidence, good: bool | None) -> None:
    assert words(sent_twice(sound, good)) == DOUBLED


@pytest.mark.parametrize(
    ("timed_out", "lasted", "found"), [(True, 1495, set()), (True, 1494, DOUBLED), (False, 1500, DOUBLED)]
)
def test_only_a_try_that_took_its_whole_time_was_over_before_the_thanks(
    sound: Evidence, timed_out: bool, lasted: int, found: set[Word]
) -> None:
    """Times are noted to 5 ms."""
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


@pytest.mark.parametrize(("at", "found"), [(3350, set()), (3351, DOUBLED)])
def test_who_was_stopped_held_the_lock_only_if_nothing_was_written_from_then_on(
    sound: Evidence, at: int, found: set[Word]
) -> None:
    """But for what was under way, which may be noted for a quarter of a second."""
    wrote = with_line(line("sending", State.DELIVERED, old_status=State.DELIVERED, at=at))(sent_twice(sound, None))
    assert words(with_fault(wrote, Kind.WORKER_FROZEN, 3100, 15_100, WORKER + 1)) == found
