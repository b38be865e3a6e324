"""Which colour models are worked on: 8 and 16 bit grey and RGB, 8 bit CMYK, each with or without alpha."""

from __future__ import annotations

import pyvips

from handlers.contract import RecordError

# libvips' interpretation -> colour channels, and the sample formats it may come with.
_MODELS = {
    "b-w": (1, ("uchar",)),
    "srgb": (3, ("uchar",)),
    "grey16": (1, ("ushort",)),
    "rgb16": (3, ("ushort",)),
    "cmyk": (4, ("uchar", "ushort")),
    "lab": (3, ("float",)),
    "labs": (3, ("short",)),
}


def check_model(image: pyvips.Image) -> None:
    """Raise RecordError 415 for a colour model that is not worked on (float, 32 bit, many channels)."""
    channels, formats = _MODELS.get(image.interpretation, (0, ()))
    if image.format not in formats or image.bands not in (channels, channels + 1):
        raise unsupported_model()


def unsupported_model() -> RecordError:
    return RecordError(
        415, "the image's colour model is not supported: send grey, RGB or CMYK with 8 or 16 bits a channel"
    )


def to_working_model(image: pyvips.Image) -> pyvips.Image:
    """Lab becomes sRGB and 16 bit CMYK 8 bit; everything else stays as it is, with its profile."""
    if image.interpretation in ("lab", "labs"):
        return image.colourspace("srgb")
    if image.interpretation == "cmyk" and image.format == "ushort":
        return (image >> 8).cast("uchar").copy(interpretation="cmyk")
    return image


def to_rgb(image: pyvips.Image) -> pyvips.Image:
    """CMYK through its own profile, or libvips' generic one, into sRGB; the rest unchanged."""
    if image.interpretation != "cmyk":
        return image
    return image.icc_transform("srgb", embedded=True, input_profile="cmyk")
