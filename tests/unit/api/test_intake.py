"""The room for large bodies: who gets how much of it, and that nothing of it stays taken."""

from __future__ import annotations

import pytest

from broker.api.intake import LARGEST_AT_ONCE, SMALL, Intake
from broker.errors import Unavailable

LARGEST = 4 * SMALL


def test_small_bodies_are_not_counted() -> None:
    intake = Intake(LARGEST)
    with intake.share("a") as share:
        share.hold(SMALL)
        assert intake.held.total() == 0


def test_a_body_that_grows_holds_its_size_once() -> None:
    intake = Intake(LARGEST)
    with intake.share("a") as share:
        for size in (SMALL + 1, SMALL + 2, SMALL + 1):
            share.hold(size)
        assert intake.held == {"a": SMALL + 2}
    assert intake.held == {}


def test_a_workspace_has_half_of_what_others_leave_so_that_there_is_always_some_for_one_more() -> None:
    """However slowly they send what they hold."""
    intake = Intake(LARGEST)
    for workspace, parts in {"a": 8, "b": 4, "c": 2}.items():
        share = intake.share(workspace)
        for part in range(1, parts + 1):
            share.hold(part * SMALL)
        with intake.share(workspace) as refused, pytest.raises(Unavailable) as error:
            refused.hold(SMALL + 1)
        assert error.value.retry_after == 1
    assert intake.held == {"a": 8 * SMALL, "b": 4 * SMALL, "c": 2 * SMALL}


def test_the_largest_body_finds_room_beside_a_workspace_that_has_all_it_may() -> None:
    intake = Intake(LARGEST)
    for _ in range(LARGEST_AT_ONCE // 2):
        intake.share("a").hold(LARGEST)
    intake.share("b").hold(LARGEST)
    assert intake.held == {"a": LARGEST_AT_ONCE // 2 * LARGEST, "b": LARGEST}


def test_what_raises_gives_its_room_back() -> None:
    intake = Intake(LARGEST)
    with pytest.raises(ZeroDivisionError), intake.share("a") as share:
        share.hold(LARGEST)
        raise ZeroDivisionError
    assert intake.held == {}
