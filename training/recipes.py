"""What is trained: each network's size, steps and seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OUTPUT = Path(__file__).parent / "output"
PICTURES = 320


@dataclass(frozen=True, slots=True)
class Recipe:
    """width: channels of every layer. steps: of 8 patches of 64 x 64 pixels each.

    absolute: share of the steps that lessen L1, which learns faster; those after them lessen L2, which PSNR measures.
    """

    width: int
    steps: int
    seed: int
    absolute: float


RECIPES = {
    "clean": Recipe(width=32, steps=8000, seed=1, absolute=1.0),
    "robust": Recipe(width=32, steps=6500, seed=4, absolute=0.6),
    "smooth": Recipe(width=32, steps=8000, seed=2, absolute=0.6),
}
