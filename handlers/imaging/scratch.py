"""A picture of a handler's own making that lies in a file, so that its size does not matter to memory."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyvips

_SAMPLE = np.dtype("<u2")
_HEADER = struct.Struct("<2sHHHQ")
_TAG = struct.Struct("<HHQQ")
_SHORT, _LONG, _LONG8 = 3, 4, 16
_STRIP_ROWS = 16


class ScratchPicture:
    """Written block by block in any order; then read so, or opened as a picture. 16 bits a sample, one or three bands.

    The file is an uncompressed BigTIFF, as libvips reads those strip by strip; raw files it maps into memory. It is a
    context: leaving it removes the file, unless it was opened; then it lies in its folder as long as that does.
    """

    def __init__(self, folder: Path, width: int, height: int, bands: int) -> None:
        self.width, self.height, self.bands = width, height, bands
        self._opened = False
        self._file, name = tempfile.mkstemp(".tif", dir=folder)
        self._path = Path(name)

    def __enter__(self) -> Self:
        end = self._place(0, self.height)
        _write_all(self._file, _HEADER.pack(b"II", 43, 8, 0, end), 0)
        _write_all(self._file, self._directory(end), end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        if not self._opened:
            self._path.unlink()

    def write(self, left: int, top: int, samples: np.ndarray) -> None:
        """samples: float, 0..1, (height, width, bands); rounded, overshoot clipped. Raises OSError (disk full)."""
        rows = (samples.clip(0, 1) * 65535 + 0.5).astype(_SAMPLE)
        for row, line in enumerate(rows, top):
            _write_all(self._file, line.tobytes(), self._place(left, row))

    def read(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """float32, 0..1, (height, width, bands); 0 where nothing was written."""
        size = width * self.bands * _SAMPLE.itemsize
        rows = b"".join(os.pread(self._file, size, self._place(left, row)) for row in range(top, top + height))
        samples = np.frombuffer(rows, _SAMPLE).astype(np.float32) / np.float32(65535)
        return samples.reshape(height, width, self.bands)

    def open(self) -> pyvips.Image:
        """`ushort`, to be read once, from its top to its end."""
        self._opened = True
        return pyvips.Image.tiffload(str(self._path), access="sequential")

    def _place(self, left: int, row: int) -> int:
        """Of a sample, in bytes."""
        return _HEADER.size + (row * self.width + left) * self.bands * _SAMPLE.itemsize

    def _directory(self, at: int) -> bytes:
        """The tags (TIFF 6.0, in the 64 bit form of libtiff's BigTIFF) and behind them the strips' places and sizes."""
        ends = [min(row + _STRIP_ROWS, self.height) for row in range(0, self.height, _STRIP_ROWS)]
        places = [self._place(0, row) for row in range(0, self.height, _STRIP_ROWS)]
        sizes = [self._place(0, end) - place for end, place in zip(ends, places, strict=True)]
        count = len(places)
        tags = 10
        behind = at + 8 + tags * _TAG.size + 8
        # A value of up to 8 bytes stands in its tag; a longer one stands elsewhere, and the tag says where.
        lists = (places[0], sizes[0]) if count == 1 else (behind, behind + 8 * count)
        entries = (
            (256, _LONG, 1, self.width),
            (257, _LONG, 1, self.height),
            (258, _SHORT, self.bands, sum(16 << 16 * band for band in range(self.bands))),
            (259, _SHORT, 1, 1),  # no compression
            (262, _SHORT, 1, 1 if self.bands == 1 else 2),  # grey, where 0 is black; RGB
            (273, _LONG8, count, lists[0]),
            (277, _SHORT, 1, self.bands),
            (278, _LONG, 1, _STRIP_ROWS),
            (279, _LONG8, count, lists[1]),
            (284, _SHORT, 1, 1),  # bands side by side
        )
        directory = struct.pack("<Q", tags) + b"".join(_TAG.pack(*entry) for entry in entries) + bytes(8)
        return directory + np.array([*places, *sizes], "<u8").tobytes()


def _write_all(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written
