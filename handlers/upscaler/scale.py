"""Enlarging by a whole number with the Lanczos-3 kernel.

`pyvips.Image.resize` is not used: when it enlarges, libvips interpolates bicubically whatever kernel it is given. For a
whole factor f the kernel has only f distinct sets of weights, so each axis is f small convolutions whose results are
interleaved. libvips streams them: memory grows with a strip of the result, not with the result.
"""

from __future__ import annotations

import math

import pyvips

METHOD = "lanczos3"
_RADIUS = 3


def enlarge(image: pyvips.Image, factor: int) -> pyvips.Image:
    """The picture `factor` times as wide and as high, same channels, depth and profile; computed when it is saved.

    Weights apply to the encoded values, as in every common resizer. Colour is multiplied by alpha meanwhile, so that
    what an invisible pixel hides never bleeds into a visible edge.
    """
    if not image.hasalpha():
        return restored(stretch(image, factor), image)
    return restored(stretch(image.premultiply(), factor).unpremultiply(), image)


def restored(stretched: pyvips.Image, image: pyvips.Image) -> pyvips.Image:
    """From float back to the samples of `image`: rounded, overshoot clipped."""
    return stretched.rint().cast(image.format).copy(interpretation=image.interpretation)


def stretch(image: pyvips.Image, factor: int) -> pyvips.Image:
    """Every channel by itself, float, neither rounded nor clipped."""
    return _widen(_widen(image, factor).rot90(), factor).rot270()


def _widen(image: pyvips.Image, factor: int) -> pyvips.Image:
    """Every source pixel becomes `factor` neighbours: as bands first, then laid out along the row."""
    phases = [image.conv(_weights(phase, factor), precision="float") for phase in range(factor)]
    return phases[0].bandjoin(phases[1:]).bandunfold(factor=factor)


def _weights(phase: int, factor: int) -> pyvips.Image:
    """The kernel around a result pixel whose centre lies `(phase + 1/2) / factor - 1/2` right of a source pixel's."""
    centre = (phase + 0.5) / factor - 0.5
    weights = [_lanczos(tap - centre) for tap in range(-_RADIUS, _RADIUS + 1)]
    total = sum(weights)
    return pyvips.Image.new_from_list([[weight / total for weight in weights]])


def _lanczos(x: float) -> float:
    """sinc(x) sinc(x / 3) inside the radius, 0 outside; x in source pixels."""
    if x == 0:
        return 1.0
    if abs(x) >= _RADIUS:
        return 0.0
    angle = math.pi * x
    return _RADIUS * math.sin(angle) * math.sin(angle / _RADIUS) / angle**2
