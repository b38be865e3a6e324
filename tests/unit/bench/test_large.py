"""How the bench of large bodies tells how many were in flight."""

from __future__ import annotations

import pytest

from bench.large import Accepted, most_at_once


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([(0, 5)], 1),
        ([(0, 2), (3, 5)], 1),
        ([(0, 2), (2, 5)], 1),
        ([(0, 9), (1, 2), (3, 4)], 2),
        ([(0, 9), (1, 3), (2, 4)], 3),
    ],
)
def test_bodies_are_in_flight_together_while_none_of_them_is_answered(spans: list[tuple[int, int]], most: int) -> None:
    assert most_at_once([Accepted(sent, answered, 0) for sent, answered in spans]) == most
