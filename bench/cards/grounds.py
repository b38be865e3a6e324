"""The first renderer's backgrounds: plain, wood, cloth, dark and bright, 0..255 floats."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Ground = NDArray[np.float32]


def _noise(random: Generator, size: tuple[int, int], cell: tuple[float, float]) -> Ground:
    """Smooth noise of deviation about 1 with cells of so many pixels across and along."""
    width, height = size
    rough = random.normal(0, 1, (int(height / cell[1]) + 2, int(width / cell[0]) + 2)).astype(np.float32)
    return np.asarray(cv2.resize(rough, size, interpolation=cv2.INTER_CUBIC), np.float32)


def _plain(random: Generator, size: tuple[int, int]) -> Ground:
    colour = random.uniform(60, 200, 3).astype(np.float32)
    return colour + 4 * _noise(random, size, (size[0] / 4, size[1] / 4))[..., None]


def _dark(random: Generator, size: tuple[int, int]) -> Ground:
    colour = random.uniform(12, 48) + random.normal(0, 4, 3).astype(np.float32)
    return np.asarray(colour + 2 * _noise(random, size, (3, 3))[..., None], np.float32)


def _bright(random: Generator, size: tuple[int, int]) -> Ground:
    colour = random.uniform(205, 238) + random.normal(0, 4, 3).astype(np.float32)
    return np.asarray(colour + 2 * _noise(random, size, (6, 6))[..., None], np.float32)


def _wood(random: Generator, size: tuple[int, int]) -> Ground:
    """Grain along one direction, boards with dark joints."""
    reach = int(np.hypot(*size)) + 2
    base = np.array(random.choice([[168, 122, 78], [110, 74, 46], [200, 170, 130], [70, 50, 38]]), np.float32)
    grain = 0.5 * _noise(random, (reach, reach), (300, 3)) + 0.5 * _noise(random, (reach, reach), (500, 12))
    board = base * (1 + 0.12 * grain[..., None] + 0.05 * _noise(random, (reach, reach), (400, 200))[..., None])
    for joint in range(int(random.integers(50, 300)), reach, int(random.integers(220, 500))):
        board[joint : joint + 3] *= 0.45
    turn = cv2.getRotationMatrix2D((reach / 2, reach / 2), float(random.uniform(0, 180)), 1)
    turned = cv2.warpAffine(board.astype(np.float32), turn, (reach, reach), borderMode=cv2.BORDER_REFLECT)
    down, right = (reach - size[1]) // 2, (reach - size[0]) // 2
    return np.asarray(turned[down : down + size[1], right : right + size[0]], np.float32)


def _cloth(random: Generator, size: tuple[int, int]) -> Ground:
    """A weave with folds."""
    colour = random.uniform(30, 210, 3).astype(np.float32)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    period, angle = random.uniform(4, 11), random.uniform(0, np.pi)
    u = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
    v = (y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period
    weave = np.sin(u) * np.sign(np.sin(v / 2)) + 0.6 * _noise(random, size, (2, 2))
    folds = _noise(random, size, (size[0] / 5, size[1] / 3))
    return np.asarray(colour * (1 + 0.07 * weave + 0.1 * folds)[..., None], np.float32)


GROUNDS: dict[str, Callable[[Generator, tuple[int, int]], Ground]] = {
    "plain": _plain,
    "wood": _wood,
    "cloth": _cloth,
    "dark": _dark,
    "bright": _bright,
}
"""Name -> (random, (width, height) in pixels) -> height x width x 3."""
