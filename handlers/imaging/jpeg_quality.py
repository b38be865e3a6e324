"""How strongly a JPEG was compressed, read from its quantization table; no pixel is decoded."""

from __future__ import annotations

from collections.abc import Iterator

# ITU-T T.81, table K.1: the luma table of quality 50 in libjpeg's scale, in zigzag order as files hold it.
_K1 = (
    *(16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40),
    *(26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51),
    *(56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87),
    *(95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99),
)
_DQT, _SOS, _EOI = 0xDB, 0xDA, 0xD9
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def jpeg_quality(data: bytes) -> int | None:
    """Of libjpeg's scale, 1..100, the nearest to the luma table (number 0); None if no such table is before the pixels.

    libjpeg's rule (jpeg_quality_scaling) solved for the quality, with the table's sum for its entries, as a table of
    another encoder is no multiple of K.1.
    """
    for segment in _segments(data, _DQT):
        for number, table in _tables(segment):
            if number == 0:
                return _quality(100 * sum(table) / sum(_K1))
    return None


def _quality(scale: float) -> int:
    """scale: per cent of K.1."""
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return min(max(round(quality), 1), 100)


def _segments(data: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of the segments of one marker that stand before the first scan (T.81, B.1.1)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (_SOS, _EOI):
            return
        if marker == 0xFF or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == wanted:
            yield data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def _tables(segment: bytes) -> Iterator[tuple[int, list[int]]]:
    """(number, 64 entries) of a DQT segment (T.81, B.2.4.1); a table that is cut off is none."""
    at = 0
    while at < len(segment):
        size, number = (2 if segment[at] >> 4 else 1), segment[at] & 15
        entries = segment[at + 1 : at + 1 + 64 * size]
        if len(entries) < 64 * size:
            return
        yield number, [int.from_bytes(entries[place : place + size], "big") for place in range(0, 64 * size, size)]
        at += 1 + 64 * size
