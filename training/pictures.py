"""One training picture from its seed: leaves, fur, letters, seen through a lens. No file is opened for it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from training.leaves import cover, strokes, write
from training.textures import Rng, smooth, texture

SIDE = 512


def picture(seed: int) -> np.ndarray:
    """A grey picture of SIDE x SIDE, uint8; the same for the same seed."""
    rng = np.random.default_rng([7, seed])
    canvas = _scene(rng, 2 * SIDE)
    reduced = canvas.reshape(SIDE, 2, SIDE, 2).mean((1, 3))
    seen = gaussian_filter(reduced, rng.uniform(0.25, 0.85))
    toned = _toned(rng, seen)
    noise = rng.uniform(0, 2.5) if rng.random() < 0.6 else 0.0
    grained = toned + rng.standard_normal(toned.shape) * noise
    return grained.round().clip(0, 255).astype(np.uint8)


def _scene(rng: Rng, side: int) -> np.ndarray:
    """Drawn at twice the size, 0..255, with a background out of focus in a third of the pictures."""
    textures = [texture(rng, side) for _ in range(3)]
    field = (rng.uniform(50, 200) + smooth(rng, side, side / rng.uniform(2, 6)) * rng.uniform(10, 60)).astype(
        np.float32
    )
    canvas = field + textures[0] * rng.exponential() * 10
    furry = rng.random() < 0.3
    cover(rng, canvas, field, textures, share=rng.uniform(0.4, 1.5))
    if rng.random() < 0.35:
        canvas = gaussian_filter(canvas, rng.uniform(1, 8))
    if furry:
        strokes(rng, canvas, int(rng.integers(1500, 9000)))
    cover(rng, canvas, field, textures, share=rng.uniform(0.2, 1.0) * (0.4 if furry else 1.0))
    if rng.random() < 0.33:
        write(rng, canvas)
    return canvas.clip(0, 255)


def _toned(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """Another exposure, contrast and curve."""
    curve = 255 * (picture.clip(0, 255) / 255) ** np.exp(rng.normal() * 0.25)
    return (curve - 128) * rng.uniform(0.6, 1.15) + 128 + rng.normal() * 10
