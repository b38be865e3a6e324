"""What a picture goes through before somebody wants it larger: scaled down, noisy, compressed."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TypeAlias

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from training.textures import Rng

Degradation: TypeAlias = Callable[[Rng, np.ndarray], np.ndarray]
"""(random source, grey uint8 picture) -> the same scene at half the width and height, grey uint8."""

_KERNELS = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def clean(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """By a common resizer, nothing else."""
    return _bytes(_halved(picture, str(rng.choice(["bicubic", "lanczos", "box"], p=[0.9, 0.05, 0.05]))))


def robust(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """By any kernel, a little noise in some cases, and a JPEG of quality 40 to 96 in most."""
    small = _any_kernel(rng, picture)
    if rng.random() < 0.3:
        small = small + rng.standard_normal(small.shape) * rng.uniform(0, 2)
    return _jpeg(_bytes(small), int(rng.integers(40, 97))) if rng.random() < 0.95 else _bytes(small)


def smooth(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """By any kernel, noise in half of the cases, and a JPEG of quality 40 to 96 in most."""
    small = _any_kernel(rng, picture)
    if rng.random() < 0.5:
        small = small + rng.standard_normal(small.shape) * rng.uniform(0, 8)
    return _jpeg(_bytes(small), int(rng.integers(40, 97))) if rng.random() < 0.9 else _bytes(small)


DEGRADATIONS: dict[str, Degradation] = {"clean": clean, "robust": robust, "smooth": smooth}


def _any_kernel(rng: Rng, picture: np.ndarray) -> np.ndarray:
    kernel = str(rng.choice(list(_KERNELS), p=[0.55, 0.2, 0.15, 0.1]))
    sigma = rng.uniform(0, 0.7) if rng.random() < 0.3 else 0.0
    return _halved(gaussian_filter(picture.astype(np.float32), sigma), kernel)


def _halved(picture: np.ndarray, kernel: str) -> np.ndarray:
    height, width = picture.shape
    image = Image.fromarray(picture.astype(np.float32))
    return np.asarray(image.resize((width // 2, height // 2), _KERNELS[kernel]))


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _bytes(picture: np.ndarray) -> np.ndarray:
    return picture.round().clip(0, 255).astype(np.uint8)
