"""How many tries there are at once: an endpoint that hangs has one, one that answers many, and none has them all."""

from __future__ import annotations

import pytest

from broker.webhooks.lanes import (
    AHEAD,
    FURTHEST,
    ORIGIN_SLOTS,
    REMEMBERED,
    SLOTS,
    UNPROVEN,
    WAITING,
    WIDEST,
    Lane,
    Lanes,
    Usher,
)

REACH = WIDEST + AHEAD
"""What a lane that is as wide as any takes at least: those under way, and those that wait for their turn."""
FURTHEST_REACH = WIDEST + FURTHEST
MINE, OTHERS = "mine", "others"
UNPROVEN_SLOTS, UNPROVEN_ORIGIN_SLOTS = int(UNPROVEN * SLOTS), int(UNPROVEN * ORIGIN_SLOTS)


def answer(lanes: Lanes, endpoint: str, times: int = 1, *, after: float | None = 1.0, status_code: int = 200) -> None:
    """So many answers after so many seconds; None: no answer at all."""
    for _ in range(times):
        lanes.begin(endpoint, endpoint, MINE)
        lanes.end(endpoint, endpoint, MINE, None if after is None else (status_code, after))


def room(lanes: Lanes | Usher, endpoint: str, origin: str | None = None, *, of: str = MINE) -> int:
    """origin: by default the endpoint's own."""
    usher = lanes.usher() if isinstance(lanes, Lanes) else lanes
    return usher.room(endpoint, origin or endpoint, of)


def begin(lanes: Lanes, count: int, name: str, origin: str | None = None, *, of: str = MINE) -> None:
    """So many tries at as many endpoints."""
    for number in range(count):
        lanes.begin(f"{name}-{number}", origin or f"{name}-{number}", of)


@pytest.mark.parametrize(("answers", "wide"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, REACH), (9, REACH)])
def test_an_endpoint_has_one_try_at_first_and_twice_as_many_with_each_answer(answers: int, wide: int) -> None:
    lanes = Lanes()
    answer(lanes, "a", answers)
    assert room(lanes, "a") == wide
    assert room(lanes, "b") == 1


def test_an_endpoint_that_does_not_answer_has_one_try_again() -> None:
    lanes = Lanes()
    answer(lanes, "a", 4)
    answer(lanes, "a", after=None)
    assert room(lanes, "a") == 1


@pytest.mark.parametrize("status_code", [429, 502, 503, 504])
def test_an_endpoint_that_is_busy_has_half_as_many_with_each_such_answer(status_code: int) -> None:
    lanes = Lanes()
    answer(lanes, "a", 4)
    widths = [room(lanes, "a")]
    for _ in range(5):
        answer(lanes, "a", status_code=status_code)
        widths.append(room(lanes, "a"))
    assert widths == [REACH, 8, 4, 2, 1, 1]


@pytest.mark.parametrize("status_code", [204, 301, 404, 500])
def test_any_other_answer_earns_room_however_it_is_meant(status_code: int) -> None:
    lanes = Lanes()
    answer(lanes, "a", status_code=status_code)
    assert room(lanes, "a") == 2


@pytest.mark.parametrize(("seconds", "wide"), [(1.0, REACH), (1.5, 10), (3.0, 5), (5.0, 3), (8.1, 1), (19.0, 1)])
def test_an_endpoint_whose_answers_take_long_has_the_fewer_tries(seconds: float, wide: int) -> None:
    lanes = Lanes()
    answer(lanes, "a", 6, after=seconds)
    assert room(lanes, "a") == wide


@pytest.mark.parametrize(
    ("seconds", "reach"),
    [(0.25, REACH), (0.2, 80), (0.1, 160), (1 / 16, FURTHEST_REACH), (0.01, FURTHEST_REACH), (0.0, FURTHEST_REACH)],
)
def test_more_wait_for_an_endpoint_that_answers_within_moments_but_for_no_longer_than_a_second(
    seconds: float, reach: int
) -> None:
    lanes = Lanes()
    answer(lanes, "a", 8, after=seconds)
    assert room(lanes, "a") == reach
    answer(lanes, "a")
    assert room(lanes, "a") == REACH


def test_twice_as_many_may_wait_after_each_answer_that_comes_within_moments() -> None:
    lanes = Lanes()
    answer(lanes, "a", 4, after=0.01)
    waiting = [room(lanes, "a") - WIDEST]
    for _ in range(4):
        answer(lanes, "a", after=0.01)
        waiting.append(room(lanes, "a") - WIDEST)
    assert waiting == [AHEAD, 2 * AHEAD, 4 * AHEAD, FURTHEST, FURTHEST]


def test_those_that_wait_for_their_turn_take_places_and_no_slots() -> None:
    lanes = Lanes()
    answer(lanes, "quick", 8, after=0.01)
    for _ in range(FURTHEST_REACH):
        lanes.begin("quick", "origin", MINE)
    assert lanes.free == SLOTS - WIDEST
    usher = lanes.usher()
    assert [usher.taken[pool] for pool in (("", False), ("origin", False), WAITING)] == [WIDEST, WIDEST, FURTHEST]
    for left in range(FURTHEST_REACH - 1, -1, -1):
        lanes.end("quick", "origin", MINE, (200, 0.01))
        usher = lanes.usher()
        assert usher.taken["origin", False] == usher.taken["", False] == min(left, WIDEST)
        assert usher.taken[WAITING] == max(left - WIDEST, 0)
    assert usher.taken.total() == usher.own.total() == 0


def test_quick_endpoints_of_some_workspaces_leave_the_slots_to_others() -> None:
    lanes = Lanes()
    for name in "abcd":
        answer(lanes, name, 8, after=0.01)
        while room(lanes, name, "origin", of=name) > 0:
            lanes.begin(name, "origin", name)
    assert lanes.free == SLOTS - 4 * WIDEST
    assert [lanes.usher().own[WAITING, name] for name in "abcd"] == [240, 136, 68, 34]
    assert lanes.offer("another", "elsewhere", OTHERS)


def test_where_one_found_no_turn_none_waits_until_the_endpoint_answers() -> None:
    lanes = Lanes()
    answer(lanes, "a", 8, after=0.01)
    for _ in range(WIDEST + 2):
        lanes.begin("a", "a", MINE)
    lanes.found_no_turn("a", "a", MINE)
    assert (room(lanes, "a"), lanes.usher().taken[WAITING]) == (-1, 1)
    lanes.found_no_turn("a", "a", MINE)
    lanes.end("a", "a", MINE, (200, 0.01))
    assert room(lanes, "a") == REACH - WIDEST + 1


def test_an_endpoint_waits_for_no_turn_that_its_origin_has_no_slot_for() -> None:
    lanes = Lanes()
    answer(lanes, "quick", 8, after=0.01)
    for number in range(7):
        answer(lanes, f"other-{number}", 4)
        for _ in range(WIDEST):
            lanes.begin(f"other-{number}", "origin", OTHERS)
    assert room(lanes, "quick", "origin") == WIDEST // 2
    for _ in range(WIDEST // 2):
        lanes.begin("quick", "origin", MINE)
    assert room(lanes, "quick", "origin") < 1


def test_those_under_way_are_counted_when_their_lane_has_become_narrow() -> None:
    lanes = Lanes()
    answer(lanes, "hangs", 5, after=0.01)
    for _ in range(WIDEST):
        lanes.begin("hangs", "origin", MINE)
    lanes.end("hangs", "origin", MINE, None)
    assert lanes.usher().taken["origin", True] == WIDEST - 1


def test_what_is_being_sent_takes_up_room_until_it_ends() -> None:
    lanes = Lanes()
    answer(lanes, "a", 2)
    for left in (4, 3, 2, 1, 0):
        assert (room(lanes, "a"), lanes.free) == (left, SLOTS - 4 + left)
        lanes.begin("a", "a", MINE)
    for _ in range(5):
        lanes.end("a", "a", MINE, (200, 1.0))
    assert (room(lanes, "a"), lanes.free) == (REACH, SLOTS)
    assert lanes.usher() == Usher({"a": Lane(WIDEST, AHEAD)})


def test_a_claim_counts_what_it_admits_and_a_fresh_one_does_not() -> None:
    lanes = Lanes()
    answer(lanes, "a", 2)
    usher = lanes.usher()
    first = usher.fresh()
    for _ in range(4):
        first.admit("a", "a", MINE)
    assert (room(first, "a"), room(usher.fresh(), "a")) == (0, 4)


def test_a_claim_sees_the_lanes_as_they_stood_when_it_was_made() -> None:
    lanes = Lanes()
    usher = lanes.usher()
    answer(lanes, "a", 2)
    lanes.begin("a", "a", MINE)
    assert (room(usher, "a"), room(lanes, "a")) == (1, 3)


def test_endpoints_of_one_origin_share_its_slots() -> None:
    lanes = Lanes()
    answer(lanes, "another")
    begin(lanes, ORIGIN_SLOTS - 1, "busy", "origin", of=OTHERS)
    assert room(lanes, "another", "origin") == 1
    begin(lanes, 1, "more", "origin", of=OTHERS)
    assert (room(lanes, "another", "origin"), room(lanes, "another", "elsewhere")) == (0, 2)


def test_endpoints_that_have_not_answered_share_half_of_their_origin_s_slots() -> None:
    lanes = Lanes()
    answer(lanes, "good", 2)
    begin(lanes, UNPROVEN_ORIGIN_SLOTS - 1, "hangs", "origin", of=OTHERS)
    usher = lanes.usher()
    assert room(usher, "new", "origin") == 1
    usher.admit("new", "origin", MINE)
    assert (room(usher, "newer", "origin"), room(usher, "newer", "elsewhere")) == (0, 1)
    assert room(usher, "good", "origin") == 4


def test_endpoints_that_have_not_answered_share_half_of_the_slots() -> None:
    lanes = Lanes()
    answer(lanes, "good")
    begin(lanes, UNPROVEN_SLOTS - 1, "hangs", of=OTHERS)
    usher = lanes.usher()
    assert room(usher, "new") == 1
    usher.admit("new", "new", MINE)
    assert room(usher, "newer") == 0
    assert room(usher, "good") == 2


def test_a_workspace_s_endpoints_that_have_not_answered_take_half_of_what_the_others_leave() -> None:
    lanes = Lanes()
    begin(lanes, UNPROVEN_SLOTS // 2 - 1, "hangs")
    assert room(lanes, "new") == 1
    begin(lanes, 1, "last")
    assert (room(lanes, "new"), room(lanes, "new", of=OTHERS)) == (0, 1)
    begin(lanes, UNPROVEN_SLOTS // 4, "another", of=OTHERS)
    assert (room(lanes, "newer", of=OTHERS), room(lanes, "newer", of="third")) == (0, 1)


def test_a_workspace_s_endpoints_at_an_origin_take_half_of_what_the_others_leave_there() -> None:
    lanes = Lanes()
    begin(lanes, UNPROVEN_ORIGIN_SLOTS // 2, "hangs", "origin")
    assert (room(lanes, "new", "origin"), room(lanes, "new", "elsewhere")) == (0, 1)
    assert room(lanes, "new", "origin", of=OTHERS) == 1


def test_a_workspace_with_many_endpoints_that_answer_slowly_takes_half_of_what_the_others_leave() -> None:
    lanes = Lanes()
    for number in range(SLOTS // 4):
        answer(lanes, f"slow-{number}", after=7.9)
        for _ in range(2):
            assert room(lanes, f"slow-{number}") > 0
            lanes.begin(f"slow-{number}", f"slow-{number}", MINE)
    answer(lanes, "quick")
    assert (room(lanes, "quick"), room(lanes, "quick", of=OTHERS)) == (0, 2)
    assert lanes.free == SLOTS // 2


def test_a_workspace_gets_no_more_while_it_has_more_than_the_others_leave_it_by_now() -> None:
    lanes = Lanes()
    answer(lanes, "good", 4)
    begin(lanes, UNPROVEN_SLOTS // 2, "hangs")
    begin(lanes, 10, "another", of=OTHERS)
    lanes.end("hangs-0", "hangs-0", MINE, None)
    assert (room(lanes, "new"), room(lanes, "new", of=OTHERS), room(lanes, "good")) == (-4, 1, REACH)


def test_one_workspace_more_finds_room_until_all_is_taken() -> None:
    lanes = Lanes()
    shares = []
    for hog in "abcdefghi":
        before = lanes.free
        for number in range(UNPROVEN_SLOTS):
            if room(lanes, f"{hog}-{number}", of=hog) > 0:
                begin(lanes, 1, f"{hog}-{number}", f"{hog}-{number}", of=hog)
        shares.append(before - lanes.free)
    assert shares == [128, 64, 32, 16, 8, 4, 2, 1, 1]


def test_one_that_has_lost_its_trust_is_counted_with_them() -> None:
    lanes = Lanes()
    answer(lanes, "bad", 3)
    for _ in range(8):
        lanes.begin("bad", "bad", MINE)
    assert lanes.usher().taken["", True] == 0
    lanes.end("bad", "bad", MINE, None)
    assert lanes.usher().taken["", True] == 7
    lanes.end("bad", "bad", MINE, (200, 0.1))
    assert lanes.usher().taken["", True] == 0


def test_the_endpoints_used_last_are_remembered() -> None:
    lanes = Lanes()
    for number in range(REMEMBERED):
        answer(lanes, str(number))
    answer(lanes, "0")
    answer(lanes, "one more")
    assert [room(lanes, name) for name in ("0", "1", "2", "one more")] == [4, 1, 2, 2]


def test_an_endpoint_in_use_is_remembered_however_long_it_has_not_ended_a_try() -> None:
    lanes = Lanes()
    answer(lanes, "busy", 2)
    lanes.begin("busy", "busy", MINE)
    for number in range(REMEMBERED):
        answer(lanes, str(number))
    lanes.end("busy", "busy", MINE, (200, 0.1))
    assert (room(lanes, "busy"), room(lanes, "0")) == (8, 1)
    assert lanes.free == SLOTS


def test_what_is_offered_begins_where_there_is_room_and_leaves_half_of_the_slots_to_claims() -> None:
    lanes = Lanes()
    assert (lanes.offer("a", "a", MINE), lanes.offer("a", "a", MINE)) == (True, False)
    lanes.withdraw("a", "a", MINE)
    assert lanes.offer("a", "a", MINE)
    for number in range(SLOTS // 2 - 2):
        answer(lanes, f"others-{number}")
    begin(lanes, SLOTS // 2 - 2, "others", of=OTHERS)
    assert (lanes.offer("b", "b", MINE), lanes.offer("c", "c", MINE), room(lanes, "c", of=MINE)) == (True, False, 1)
