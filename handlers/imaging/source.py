"""An untrusted image file: its header read and judged first, its pixels decoded later."""

from __future__ import annotations

from dataclasses import dataclass

import pyvips

from handlers.contract import Config, RecordError
from handlers.imaging.colour import to_working_model
from handlers.imaging.encode import MAX_SIDE, Encoding
from handlers.imaging.formats import Format, is_lossless_webp, sniff
from handlers.imaging.guard import readable
from handlers.imaging.header import Header
from handlers.imaging.jpeg_quality import jpeg_quality
from handlers.imaging.libvips_formats import open_with_libvips
from handlers.imaging.pillow_formats import open_bmp, open_heic


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose header passed the caps.

    encoding: how a picture made from it is written: JPEG, PNG and WebP keep their format, the others become PNG if
    they have alpha, else JPEG. quality: a JPEG's, 1..100, estimated; None if it is another format or cannot be told.
    """

    format: Format
    encoding: Encoding
    header: Header
    quality: int | None

    @property
    def lossy(self) -> bool:
        """Whether its coding loses detail: JPEG, AVIF, HEIC and one kind of WebP."""
        if self.format is Format.WEBP:
            return not self.encoding.lossless
        return self.format in (Format.JPEG, Format.AVIF, Format.HEIC)

    @property
    def width(self) -> int:
        """Pixels, of the upright picture; `height` too."""
        return self.header.width

    @property
    def height(self) -> int:
        return self.header.height

    def decode(self) -> pyvips.Image:
        """The first frame or page, whole and in memory, upright by its orientation tag, with its colour profile.

        Grey, RGB and CMYK stay what they are (CMYK with 8 bits), 16 bit stays 16 bit, a palette becomes RGB, Lab
        becomes sRGB. Raises RecordError 400 if a part of the file is missing or broken.
        """
        with readable():
            return to_working_model(self.header.load())

    def check_result(self, width: int, height: int, config: Config) -> None:
        """Raise RecordError 413 if a result of that size, in pixels, is over the cap or its format's longest side."""
        sizes = f"the result of {width} x {height} pixels, made from {self.width} x {self.height},"
        if width * height > config.max_output_pixels:
            raise RecordError(413, f"{sizes} is over the limit of {config.max_output_pixels:,} pixels")
        format = self.encoding.format
        longest = MAX_SIDE.get(format)
        if longest is not None and max(width, height) > longest:
            raise RecordError(413, f"{sizes} does not fit into {format.value}, which holds {longest:,} pixels a side")


def read_header(data: bytes, config: Config) -> Source:
    """Judge a file by its first bytes and its header. Raises RecordError 400, 413 (over a cap) or 415 (its kind)."""
    if not data:
        raise RecordError(400, "the image is empty")
    if len(data) > config.max_image_bytes:
        raise RecordError(
            413, f"the image of {len(data):,} bytes is over the limit of {config.max_image_bytes:,} bytes"
        )
    format = sniff(data)
    if format is None:
        names = ", ".join(known.value for known in Format)
        raise RecordError(415, f"not an image of a supported format: send one of {names}")
    with readable():
        header = _open(data, format)
    if header.width * header.height > config.max_image_pixels:
        size = f"{header.width} x {header.height}"
        raise RecordError(413, f"the image of {size} pixels is over the limit of {config.max_image_pixels:,} pixels")
    quality = jpeg_quality(data) if format is Format.JPEG else None
    return Source(format, _encoding(data, format, header.alpha), header, quality)


def _open(data: bytes, format: Format) -> Header:
    if format is Format.BMP:
        return open_bmp(data)
    if format is Format.HEIC:
        return open_heic(data)
    return open_with_libvips(data, format)


def _encoding(data: bytes, format: Format, alpha: bool) -> Encoding:
    if format is Format.WEBP:
        return Encoding(format, lossless=is_lossless_webp(data))
    if format in (Format.JPEG, Format.PNG):
        return Encoding(format)
    return Encoding(Format.PNG if alpha else Format.JPEG)
