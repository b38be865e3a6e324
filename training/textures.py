"""Endless surfaces that leaves are cut from: noise of several spectra, gratings, cloth."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft2, rfft2

Rng = np.random.Generator


def texture(rng: Rng, side: int) -> np.ndarray:
    """A float32 square of mean 0 and standard deviation 1."""
    kind = rng.choice([fractal, oriented, grating, cloth, grain], p=[0.4, 0.2, 0.15, 0.15, 0.1])
    drawn = kind(rng, side)
    return ((drawn - drawn.mean()) / (drawn.std() + 1e-6)).astype(np.float32)


def smooth(rng: Rng, side: int, scale: float) -> np.ndarray:
    """A low-frequency field of standard deviation 1; scale: its typical size in pixels."""
    field = _filtered(rng, side, lambda fy, fx: np.exp(-((fy**2 + fx**2) * scale**2) * 2))
    return (field / (field.std() + 1e-6)).astype(np.float32)


def fractal(rng: Rng, side: int) -> np.ndarray:
    """Noise of amplitude 1/f^b: rough stone to clouds."""
    slope = rng.uniform(0.5, 1.8)
    return _filtered(rng, side, lambda fy, fx: (fy**2 + fx**2 + 1e-5) ** (-slope / 2))


def oriented(rng: Rng, side: int) -> np.ndarray:
    """Noise drawn out along one direction: hair, wood, brushed metal; bent by a smooth field half of the time."""
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(4, 20)
    length = rng.uniform(1.0, 4.0)

    def spectrum(fy: np.ndarray, fx: np.ndarray) -> np.ndarray:
        along = fx * np.cos(angle) + fy * np.sin(angle)
        across = fy * np.cos(angle) - fx * np.sin(angle)
        return np.exp(-((along * stretch * length) ** 2 + (across * length) ** 2) * 6)

    drawn = _filtered(rng, side, spectrum)
    return _warped(rng, drawn) if rng.random() < 0.5 else drawn


def grating(rng: Rng, side: int) -> np.ndarray:
    """Stripes from soft to hard, of a period between 4 and 60 pixels of the canvas, slightly bent."""
    wave = np.sin(_phase(rng, side, 4, 60))
    return np.tanh(wave * rng.uniform(0.5, 6))


def cloth(rng: Rng, side: int) -> np.ndarray:
    """Two crossed gratings, uneven from thread to thread."""
    period = rng.uniform(5, 20)
    angle = rng.uniform(0, np.pi)
    one = np.sin(_phase(rng, side, period, period, angle))
    other = np.sin(_phase(rng, side, period, period, angle + np.pi / 2))
    weave = np.maximum(one, other) if rng.random() < 0.5 else one * other
    return weave + rng.uniform(0.2, 1.0) * fractal(rng, side) / 2


def grain(rng: Rng, side: int) -> np.ndarray:
    """Sparse bright and dark specks, softened: sand, foam, leaves far away."""
    specks = rng.standard_t(rng.uniform(2, 6), (side, side)).clip(-8, 8)
    size = rng.uniform(0.8, 3.0)
    y, x = _frequencies(side)
    return irfft2(rfft2(specks) * np.exp(-(y**2 + x**2) * (2 * np.pi * size) ** 2 / 2), (side, side))


def _phase(rng: Rng, side: int, low: float, high: float, angle: float | None = None) -> np.ndarray:
    period = np.exp(rng.uniform(np.log(low), np.log(high)))
    turn = rng.uniform(0, np.pi) if angle is None else angle
    y, x = np.mgrid[:side, :side].astype(np.float32)
    bend = smooth(rng, side, side / 6) * rng.uniform(0, 2)
    return (x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / period) + bend + rng.uniform(0, 2 * np.pi)


def _warped(rng: Rng, drawn: np.ndarray) -> np.ndarray:
    """Each pixel taken from some pixels away, by a smooth field."""
    side = drawn.shape[0]
    y, x = np.mgrid[:side, :side]
    reach = rng.uniform(10, 60)
    dy = smooth(rng, side, side / 8) * reach
    dx = smooth(rng, side, side / 8) * reach
    return drawn[(y + dy.astype(int)) % side, (x + dx.astype(int)) % side]


def _frequencies(side: int) -> tuple[np.ndarray, np.ndarray]:
    return np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]


def _filtered(rng: Rng, side: int, spectrum: object) -> np.ndarray:
    y, x = _frequencies(side)
    gain = spectrum(y, x)  # type: ignore[operator]
    gain = np.array(gain, dtype=np.float32)
    gain[0, 0] = 0
    noise = rng.standard_normal((side, side), dtype=np.float32)
    return irfft2(rfft2(noise) * gain, (side, side))
