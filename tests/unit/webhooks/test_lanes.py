"""How many tries there are at once: an endpoint that hangs has one, one that answers many, and none has them all."""

from __future__ import annotations

import pytest

from broker.webhooks.lanes import ORIGIN_SLOTS, REMEMBERED, SLOTS, WIDEST, Lanes


def answer(lanes: Lanes, endpoint: str, times: int = 1, *, after: float | None = 0.1) -> None:
    """So many answers after so many seconds; None: no answer at all."""
    for _ in range(times):
        lanes.begin(endpoint, endpoint)
        lanes.end(endpoint, endpoint, after)


@pytest.mark.parametrize(("answers", "room"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, WIDEST), (9, WIDEST)])
def test_an_endpoint_has_one_try_at_first_and_twice_as_many_with_each_answer(answers: int, room: int) -> None:
    lanes = Lanes()
    answer(lanes, "a", answers)
    assert lanes.usher().room("a", "a") == room
    assert lanes.usher().room("b", "b") == 1


def test_an_endpoint_that_does_not_answer_has_one_try_again() -> None:
    lanes = Lanes()
    answer(lanes, "a", 4)
    answer(lanes, "a", after=None)
    assert lanes.usher().room("a", "a") == 1


@pytest.mark.parametrize(("seconds", "room"), [(1.0, 16), (1.5, 10), (3.0, 5), (5.0, 3), (8.1, 1), (19.0, 1)])
def test_an_endpoint_whose_answers_take_long_has_the_fewer_tries(seconds: float, room: int) -> None:
    lanes = Lanes()
    answer(lanes, "a", 6, after=seconds)
    assert lanes.usher().room("a", "a") == room


def test_what_is_being_sent_takes_up_room_until_it_ends() -> None:
    lanes = Lanes()
    answer(lanes, "a", 2)
    for room in (4, 3, 2, 1, 0):
        assert (lanes.usher().room("a", "a"), lanes.free) == (room, SLOTS - 4 + room)
        lanes.begin("a", "a")
    for _ in range(5):
        lanes.end("a", "a", 0.1)
    assert (lanes.usher().room("a", "a"), lanes.free) == (WIDEST, SLOTS)


def test_a_claim_counts_what_it_admits_and_a_fresh_one_does_not() -> None:
    lanes = Lanes()
    answer(lanes, "a", 2)
    usher = lanes.usher()
    first = usher.fresh()
    for _ in range(4):
        first.admit("a", "a")
    assert (first.room("a", "a"), usher.fresh().room("a", "a")) == (0, 4)


def test_a_claim_sees_the_lanes_as_they_stood_when_it_was_made() -> None:
    lanes = Lanes()
    usher = lanes.usher()
    lanes.begin("a", "a")
    assert (usher.room("a", "a"), lanes.usher().room("a", "a")) == (1, 0)


def test_endpoints_of_one_origin_share_its_slots() -> None:
    lanes = Lanes()
    for number in range(ORIGIN_SLOTS):
        answer(lanes, f"good-{number}")
        answer(lanes, "another")
    usher = lanes.usher()
    for number in range(ORIGIN_SLOTS):
        assert usher.room(f"good-{number}", "origin") == min(2, ORIGIN_SLOTS - number)
        usher.admit(f"good-{number}", "origin")
    assert usher.room("another", "origin") == 0
    assert usher.room("another", "elsewhere") == WIDEST


def test_endpoints_that_have_not_answered_share_half_of_their_origin_s_slots() -> None:
    lanes = Lanes()
    answer(lanes, "good", 2)
    for number in range(ORIGIN_SLOTS // 2 - 1):
        lanes.begin(f"hangs-{number}", "origin")
    usher = lanes.usher()
    assert usher.room("new", "origin") == 1
    usher.admit("new", "origin")
    assert (usher.room("newer", "origin"), usher.room("newer", "elsewhere")) == (0, 1)
    assert usher.room("good", "origin") == 4


def test_endpoints_that_have_not_answered_share_half_of_the_slots() -> None:
    lanes = Lanes()
    answer(lanes, "good")
    for number in range(SLOTS // 2 - 1):
        lanes.begin(f"hangs-{number}", f"o{number}")
    usher = lanes.usher()
    assert usher.room("new", "new") == 1
    usher.admit("new", "new")
    assert usher.room("newer", "newer") == 0
    assert usher.room("good", "good") == 2


def test_one_that_has_lost_its_trust_is_counted_with_them() -> None:
    lanes = Lanes()
    answer(lanes, "bad", 3)
    for _ in range(8):
        lanes.begin("bad", "bad")
    lanes.end("bad", "bad", None)
    assert lanes.usher().unproven == {"bad": 7}


def test_the_endpoints_used_last_are_remembered() -> None:
    lanes = Lanes()
    for number in range(REMEMBERED):
        answer(lanes, str(number))
    answer(lanes, "0")
    answer(lanes, "one more")
    usher = lanes.usher()
    assert [usher.room(name, name) for name in ("0", "1", "2", "one more")] == [4, 1, 2, 2]
