"""What the file of SQLite's log holds (https://sqlite.org/fileformat2.html#walformat)."""

from __future__ import annotations

import struct
from pathlib import Path

HEAD, FRAME_HEAD = 32, 24
"""Bytes, as is the length of a page, which stands in the log's head."""


def log_of(file: Path) -> Path:
    """The log of a database."""
    return file.with_name(file.name + "-wal")


def log_size(file: Path) -> int:
    """Bytes of the file, which may be longer than the log; 0 for none."""
    log = log_of(file)
    return log.stat().st_size if log.exists() else 0


def log_frames(file: Path) -> int:
    """Pages that have been written since the log began: those at its beginning that have the salt of its head."""
    log = log_of(file).read_bytes() if log_of(file).exists() else b""
    if len(log) < HEAD:
        return 0
    (page,) = struct.unpack(">I", log[8:12])
    places = range(HEAD, len(log), FRAME_HEAD + page)
    return next((count for count, at in enumerate(places) if log[at + 8 : at + 16] != log[16:24]), len(places))
