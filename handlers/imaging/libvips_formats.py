"""The formats that libvips opens, each by its own loader: libvips never chooses one from the bytes."""

from __future__ import annotations

import pyvips

from handlers.imaging.colour import check_model
from handlers.imaging.formats import Format
from handlers.imaging.header import Header

_LOADERS = {
    Format.JPEG: pyvips.Image.jpegload_buffer,
    Format.PNG: pyvips.Image.pngload_buffer,
    Format.WEBP: pyvips.Image.webpload_buffer,
    Format.GIF: pyvips.Image.gifload_buffer,
    Format.TIFF: pyvips.Image.tiffload_buffer,
    Format.AVIF: pyvips.Image.heifload_buffer,
}


def open_with_libvips(data: bytes, format: Format) -> Header:
    """The first frame or page. Raises pyvips.Error, and RecordError 415 for a colour model that is not worked on."""
    loader = _LOADERS[format]
    # "error" makes a missing or broken part fail; libvips would otherwise fill it with grey.
    image = loader(data, access="sequential", fail_on="error")
    check_model(image)
    width, height = (image.height, image.width) if _is_turned(image) else (image.width, image.height)

    def load() -> pyvips.Image:
        # Opened anew, because a sequential image can be read only once.
        return loader(data, access="sequential", fail_on="error").copy_memory().autorot()

    return Header(width, height, image.hasalpha(), load)


def _is_turned(image: pyvips.Image) -> bool:
    """Whether the EXIF orientation swaps the sides. (AVIF has none here: libheif turns by the file's transforms.)"""
    return bool(image.get_typeof("orientation")) and image.get("orientation") >= 5
