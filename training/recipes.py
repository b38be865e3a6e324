"""What is trained: each network's size, steps and seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OUTPUT = Path(__file__).parent / "output"
PICTURES = 320


@dataclass(frozen=True, slots=True)
class Recipe:
    """width: channels of every layer. steps: of 8 patches of 64 x 64 pixels each."""

    width: int
    steps: int
    seed: int


RECIPES = {
    "clean": Recipe(width=32, steps=14000, seed=1),
    "robust": Recipe(width=32, steps=8000, seed=2),
    "smooth": Recipe(width=32, steps=4000, seed=3),
}
