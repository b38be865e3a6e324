"""Writing a result: the options of its format, and where its bytes go."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from handlers.contract import Box, Output, RecordError
from handlers.imaging.colour import to_rgb
from handlers.imaging.formats import Format

MAX_SIDE = {Format.JPEG: 65_500, Format.WEBP: 16_383}
"""The longest side in pixels that the format can hold, where that is less than any cap of ours."""

INLINE_PIXELS = 16_000_000
"""Pictures above this are written to a file, so that a worker holds no large encoded result in memory."""

_TYPES = {
    Format.JPEG: ("jpg", "image/jpeg"),
    Format.PNG: ("png", "image/png"),
    Format.WEBP: ("webp", "image/webp"),
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a result is written. format: JPEG, PNG or WebP; lossless: of WebP's two kinds, the exact one."""

    format: Format
    lossless: bool = False


def save(image: pyvips.Image, encoding: Encoding, stem: str, box: Box, begin: float = 0.0) -> Output:
    """Compute and encode the picture; it is called `stem` plus its format's extension.

    The colour profile is kept, other metadata is not. JPEG: quality 95, 4:4:4, 8 bits, CMYK stays CMYK, alpha becomes
    white. PNG: 8 or 16 bits. WebP: lossless, or quality 90 (its colour is always 4:2:0). Raises RecordError 499 soon
    after the box says cancelled, and OSError if the disk does not take the file. begin: the progress, 0..1, that the
    record has already made.
    """
    extension, media_type = _TYPES[encoding.format]
    if encoding.format is not Format.JPEG:
        image = to_rgb(image)
    _watch(image, box, begin)
    try:
        data = _write(image, f".{extension}", _options(encoding, image), box.scratch)
    except pyvips.Error as error:
        if box.cancelled:
            raise RecordError(499, "cancelled") from error
        raise OSError(f"the {encoding.format.value} result could not be written") from error
    return Output(data, media_type, f"{stem}.{extension}")


def _options(encoding: Encoding, image: pyvips.Image) -> dict[str, Any]:
    if encoding.format is Format.JPEG:
        # Codes made for the picture save some per cent, but libjpeg then holds all of it, 6 bytes a pixel.
        made_for_it = _is_inline(image)
        return {"Q": 95, "subsample_mode": "off", "optimize_coding": made_for_it, "background": 255, "keep": "icc"}
    if encoding.format is Format.PNG:
        return {"keep": "icc"}
    return {"Q": 90, "lossless": encoding.lossless, "smart_subsample": True, "keep": "icc"}


def _is_inline(image: pyvips.Image) -> bool:
    return bool(image.width * image.height <= INLINE_PIXELS)


def _write(image: pyvips.Image, suffix: str, options: dict[str, Any], scratch: Path) -> bytes | Path:
    if _is_inline(image):
        data: bytes = image.write_to_buffer(suffix, **options)
        return data
    descriptor, path = tempfile.mkstemp(suffix, dir=scratch)
    os.close(descriptor)
    image.write_to_file(path, **options)
    return Path(path)


def _watch(image: pyvips.Image, box: Box, begin: float) -> None:
    """Report progress while the picture is computed, and stop once its result is no longer wanted."""
    last = -1

    def tick(image: pyvips.Image, progress: Any) -> None:
        nonlocal last
        if progress.percent == last:
            return
        last = progress.percent
        box.progress(begin + (1 - begin) * last / 100)
        if box.cancelled:
            image.set_kill(True)

    image.set_progress(True)
    image.signal_connect("eval", tick)
