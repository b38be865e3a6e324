"""SQLite's write-ahead log, as its file shows it to who holds the lock of the database.

The file is kept at its length when all in it has come to the database, and written anew from its beginning: to flush
what makes a file longer takes the disk four to eight times as long, as its length has to be written as well. A log
is so much of its file as has the salt that stands in its head (https://sqlite.org/fileformat2.html#walformat).
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

HEAD, FRAME_HEAD = 32, 24
"""Bytes before the first frame, and before each page."""
PAGE, SALT = slice(8, 12), slice(16, 24)
"""Of the head."""
FRAME_SALT = slice(8, 16)
"""Of a frame's head."""
LONGEST = 16 * 1024 * 1024
"""Bytes that its file is cut to when the log begins anew, as readers that stay for long let it grow without end."""


class Log:
    """lock: descriptor of the lock's file, in which stands the salt of a log whose next frame is the first of the next.

    To open and close the log's own file costs no lock of SQLite's, which are on the database and its index of the log.
    Nothing here fails, as who asks has a commit to answer for: what cannot be read is no log, and what cannot be
    written costs others a flush where they expect none.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        self._file: int | None = None

    def holds(self, frames: int) -> bool:
        """Whether it has so many, or more."""
        head = self._read(HEAD, 0)
        if len(head) < HEAD:
            return False
        (page,) = struct.unpack(">I", head[PAGE])
        last = self._read(FRAME_HEAD, HEAD + (frames - 1) * (FRAME_HEAD + page))
        return last[FRAME_SALT] == head[SALT]

    def note_spent(self) -> None:
        """All of it is in the database, and no reader needs it: whoever writes next begins it anew."""
        with suppress(OSError):  # a full disk
            os.pwrite(self._lock, self._read(HEAD, 0)[SALT], 0)

    @property
    def is_spent(self) -> bool:
        """Whether the next commit begins it, so that SQLite flushes its head whatever it is asked for."""
        salt = self._read(HEAD, 0)[SALT]
        try:
            return not salt or os.pread(self._lock, len(salt), 0) == salt
        except OSError:
            return True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read(self, length: int, offset: int) -> bytes:
        """Nothing where no log is, or none can be read, as where this process has too many files open."""
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._file, length, offset)
        except OSError:
            return b""
