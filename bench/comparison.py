"""Two measurements side by side: lines of medians over rounds, with their ratio; and the words of verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def heading(one: str, other: str) -> str:
    return f"{'':10}{one:>12}{other:>12}{'ratio':>8}  target"


def line(name: str, pairs: Sequence[tuple[float, float]]) -> tuple[str, float]:
    """(one, other) of each round -> a line with the medians of both and of their ratio, and that ratio."""
    ratio = median(other / one for one, other in pairs)
    return f"{name:10}{median(a for a, _ in pairs):12,.1f}{median(b for _, b in pairs):12,.1f}{ratio:8.2f}", ratio


def judge(reached: bool) -> str:
    return "ok" if reached else "short"
