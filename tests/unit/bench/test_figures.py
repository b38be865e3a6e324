"""The words of the table of benches."""

from __future__ import annotations

import pytest

from bench.figures import Figure, rows


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (Figure("a", 2, 2), "a at least 2 2 ok"),
        (Figure("a", 1.9, 2), "a at least 2 1.9 short"),
        (Figure("a", 2, 2, most=True), "a at most 2 2 ok"),
        (Figure("a", 2.1, 2, most=True), "a at most 2 2.1 short"),
        (Figure("a", 7, None), "a no target 7 -"),
    ],
)
def test_a_row_tells_target_measured_and_verdict(figure: Figure, words: str) -> None:
    (row,) = rows([figure])
    assert " ".join(row.split()) == words
