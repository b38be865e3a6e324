"""Which format a file is, told from its first bytes; nothing here decodes."""

from __future__ import annotations

from enum import Enum


class Format(Enum):
    """The formats that are read; the value is the name shown to customers."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    GIF = "GIF"
    TIFF = "TIFF"
    AVIF = "AVIF"
    HEIC = "HEIC"
    BMP = "BMP"


_SIGNATURES = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"II*\x00", Format.TIFF),
    (b"MM\x00*", Format.TIFF),
    (b"II+\x00", Format.TIFF),
    (b"MM\x00+", Format.TIFF),
    (b"BM", Format.BMP),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})


def sniff(data: bytes) -> Format | None:
    """The format that the first bytes announce; None for everything that is not read (SVG, PDF, text, …)."""
    for signature, format in _SIGNATURES:
        if data.startswith(signature):
            return format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    brands = _brands(data)
    if brands & _AVIF_BRANDS:
        return Format.AVIF
    return Format.HEIC if brands & _HEIC_BRANDS else None


def is_lossless_webp(data: bytes) -> bool:
    """Whether the first coded frame is of the lossless kind (chunk `VP8L`), by walking the RIFF chunks."""
    offset = 12
    while offset + 8 <= len(data):
        name = data[offset : offset + 4]
        if name in (b"VP8L", b"VP8 "):
            return name == b"VP8L"
        if name == b"ANMF":
            offset += 24  # a frame's own chunks begin behind its chunk header and 16 bytes of geometry
            continue
        size = int.from_bytes(data[offset + 4 : offset + 8], "little")
        offset += 8 + size + size % 2
    return False


def _brands(data: bytes) -> frozenset[bytes]:
    """The major and compatible brands of an ISO media file's `ftyp` box (ISO/IEC 14496-12, 4.3)."""
    if data[4:8] != b"ftyp":
        return frozenset()
    box = data[: min(int.from_bytes(data[:4], "big"), 1024)]
    return frozenset({box[8:12], *(box[at : at + 4] for at in range(16, len(box), 4))})
