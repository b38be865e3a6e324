"""The nudges bench's table says where a wait is too long, and where a batch is missing."""

from __future__ import annotations

from bench.nudges import SPELLS, Spells, table


def spells(**longest: int) -> Spells:
    """Four batches a spell that wait for 20 ms, and one that waits for so long in those that are named."""
    found = Spells()
    for name in SPELLS:
        found.accepted[name] = [f"{name} {number}" for number in range(5)]
        found.waits |= dict.fromkeys(found.accepted[name], 20) | {f"{name} 0": longest.get(name, 20)}
    return found


def test_the_longest_wait_that_a_trouble_adds_is_judged() -> None:
    lines = list(table(spells(killed=900, hanging=1_020)))
    assert lines[-2:] == [
        "longest added wait 1.00 looks (hanging), at most 1.00: ok",
        "accepted 30, done at the first run 30: ok",
    ]
    assert lines[-3].split() == ["hanging", "5", "0.020", "0.980", "1.020"]
    assert list(table(spells(killed=1_031)))[-2] == "longest added wait 1.01 looks (killed), at most 1.00: short"


def test_what_calm_spells_take_is_no_trouble() -> None:
    assert list(table(spells(calm=5_000)))[-2].endswith("at most 1.00: ok")


def test_a_batch_without_an_end_is_missed() -> None:
    found = spells()
    del found.waits["back 0"]
    assert list(table(found))[-1] == "accepted 30, done at the first run 29: short"
