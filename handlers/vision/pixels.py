"""From a decoded picture to an array of 8 bit sRGB."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyvips
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""height x width x 3, RGB 0..255."""


def to_rgb(image: pyvips.Image) -> Pixels:
    """Grey, 16 bit and CMYK become 8 bit RGB; what is transparent becomes white.

    A colour profile is left aside but for CMYK: where an edge lies does not depend on it.
    """
    if image.interpretation == "cmyk":
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk")
    if image.hasalpha():
        white = 65_535 if image.format == "ushort" else 255
        image = image.flatten(background=white)
    image = image.colourspace("srgb").cast("uchar")
    if image.bands == 1:
        image = image.bandjoin([image, image])
    return np.asarray(image.numpy(), np.uint8)


def to_picture(pixels: NDArray[np.uint8]) -> pyvips.Image:
    """The way back: height x width x 3 (RGB) or 4 (with alpha)."""
    picture = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    return picture.copy(interpretation="srgb")
