"""What a worker passes over unseen, and for how long."""

from __future__ import annotations

from broker.store.claims import PassedOver
from broker.work.passed import LONGEST, PART, Passed

LOOK = PassedOver(rank=7, seconds=0.1)


def test_at_first_a_look_is_over_all() -> None:
    assert Passed().rank(("a",), 100.0) == 0


def test_a_long_look_is_believed_for_some_of_its_time() -> None:
    passed = Passed()
    passed.note(("a", "b"), LOOK, 100.0)
    end = 100.0 + PART * LOOK.seconds
    assert [passed.rank(types, end - 0.01) for types in (("a", "b"), ("a",), ("a", "c"))] == [7, 7, 0]
    assert passed.rank(("a",), end) == 0


def test_a_look_that_was_not_over_all_makes_no_other_believed_longer() -> None:
    passed = Passed()
    passed.note(("a",), LOOK, 100.0)
    passed.note(("a",), PassedOver(rank=9, seconds=0.3), 100.9)
    assert [passed.rank(("a",), now) for now in (100.95, 101.0)] == [9, 0]


def test_no_look_is_believed_for_long() -> None:
    passed = Passed()
    passed.note(("a",), PassedOver(rank=7, seconds=60), 100.0)
    assert [passed.rank(("a",), now) for now in (100.0, 99.0 + LONGEST, 100.0 + LONGEST)] == [7, 7, 0]
