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


def test_a_workspace_has_half_of_the_room_and_leaves_the_rest_to_others() -> None:
    intake = Intake(LARGEST)
    half = LARGEST_AT_ONCE // 2
    shares = [intake.share(workspace) for workspace in "aabb"]
    for share in shares[:half]:
        share.hold(LARGEST)
    with intake.share("a") as refused, pytest.raises(Unavailable) as error:
        refused.hold(SMALL + 1)
    assert error.value.retry_after == 1
    for share in shares[half:]:
        share.hold(LARGEST)
    with intake.share("c") as refused, pytest.raises(Unavailable):
        refused.hold(SMALL + 1)
    assert intake.held == {"a": half * LARGEST, "b": half * LARGEST}


def test_what_raises_gives_its_room_back() -> None:
    intake = Intake(LARGEST)
    with pytest.raises(ZeroDivisionError), intake.share("a") as share:
        share.hold(LARGEST)
        raise ZeroDivisionError
    assert intake.held == {}
