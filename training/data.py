"""The training pictures, drawn once into a cache, and pairs of patches cut from them."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from training.degrade import DEGRADATIONS
from training.pictures import SIDE, picture

VARIANTS = 3
"""How often each picture is degraded, each time otherwise."""


def pool(count: int, folder: Path, processes: int = 1) -> np.ndarray:
    """`count` pictures of seeds 0, 1, ..., as uint8 (count, SIDE, SIDE); read from `folder` if drawn before."""
    path = folder / f"pictures-{count}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with get_context("spawn").Pool(processes) as workers:
            drawn = np.stack(list(workers.imap(picture, range(count), chunksize=4)))
        np.save(path, drawn)
    return np.asarray(np.load(path))


def degraded(pictures: np.ndarray, name: str) -> np.ndarray:
    """VARIANTS small versions of each picture, uint8 (VARIANTS, count, SIDE / 2, SIDE / 2)."""
    degrade = DEGRADATIONS[name]
    small = np.empty((VARIANTS, len(pictures), SIDE // 2, SIDE // 2), np.uint8)
    for variant in range(VARIANTS):
        for index, one in enumerate(pictures):
            small[variant, index] = degrade(np.random.default_rng([11, variant, index]), one)
    return small


def batches(
    pictures: np.ndarray, small: np.ndarray, steps: int, size: int, patch: int, margin: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of float32 in 0..1: small ones of patch + 2 margin pixels a side, and what their middles are, of 2 patch.

    Both are (size, 1, side, side).
    """
    rng = np.random.default_rng(13)
    wide = patch + 2 * margin
    for _ in range(steps):
        low = np.empty((size, 1, wide, wide), np.uint8)
        high = np.empty((size, 1, 2 * patch, 2 * patch), np.uint8)
        for index in range(size):
            variant, which = rng.integers(small.shape[0]), rng.integers(small.shape[1])
            top, left = rng.integers(0, SIDE // 2 - wide + 1, 2)
            y, x = 2 * (top + margin), 2 * (left + margin)
            turn, mirrored = rng.integers(4), rng.random() < 0.5
            low[index, 0] = _turned(small[variant, which, top : top + wide, left : left + wide], turn, mirrored)
            high[index, 0] = _turned(pictures[which, y : y + 2 * patch, x : x + 2 * patch], turn, mirrored)
        yield torch.from_numpy(low).float() / 255, torch.from_numpy(high).float() / 255


def _turned(patch: np.ndarray, turn: int, mirrored: bool) -> np.ndarray:
    turned = np.rot90(patch, turn)
    return turned[:, ::-1] if mirrored else turned
