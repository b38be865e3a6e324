"""BMP and HEIC, which this build of libvips cannot read: the only two formats that Pillow and pillow-heif open.

Each class is used directly, not through `PIL.Image.open`: no other plugin of Pillow sees the bytes, and its warning
about large pictures, whose cap is not ours, never appears.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pillow_heif
import pyvips
from PIL.BmpImagePlugin import BmpImageFile

from handlers.imaging.colour import unsupported_model
from handlers.imaging.header import Header

if TYPE_CHECKING:
    from PIL import Image

# Pillow's mode -> the mode it is worked on in. What is missing here is not supported.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}
_INTERPRETATIONS = {"L": "b-w", "RGB": "srgb", "RGBA": "srgb"}


def open_bmp(data: bytes) -> Header:
    header = BmpImageFile(BytesIO(data))
    mode = _working_mode(header.mode)
    return Header(header.width, header.height, mode == "RGBA", lambda: _to_vips(BmpImageFile(BytesIO(data)), mode))


def open_heic(data: bytes) -> Header:
    """The primary picture, 8 bits. libheif turns it upright by the file's transforms; its EXIF tag does not count."""
    file = pillow_heif.open_heif(data)
    mode = _working_mode(file.mode)
    width, height = file.size

    def load() -> pyvips.Image:
        image = _to_vips(file.to_pillow(), mode)
        if profile := file.info.get("icc_profile"):
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
        return image

    return Header(width, height, mode == "RGBA", load)


def _working_mode(mode: str) -> str:
    if mode not in _MODES:
        raise unsupported_model()
    return _MODES[mode]


def _to_vips(image: Image.Image, mode: str) -> pyvips.Image:
    pixels = image.convert(mode).tobytes()
    picture = pyvips.Image.new_from_memory(pixels, image.width, image.height, len(mode), "uchar")
    return picture.copy(interpretation=_INTERPRETATIONS[mode])
