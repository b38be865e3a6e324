"""How often the sweep looks for what is overdue."""

from __future__ import annotations

from broker.work.sweep import LONGEST, PART, pause_after


def test_looks_take_a_small_part_of_the_time() -> None:
    assert pause_after(0.001) == PART * 0.001


def test_a_look_that_hung_with_the_database_puts_the_next_off_for_some_seconds_only() -> None:
    assert pause_after(60.0) == LONGEST
