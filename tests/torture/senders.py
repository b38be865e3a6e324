"""Tells which process sent a POST, by the kernel's tables, as neither the POST nor the database says it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

CONNECTIONS = Path("/proc/net/tcp")


def sender_of(client: int, server: int, pids: Iterable[int]) -> int | None:
    """Which of `pids` holds the client's end of an IPv4 connection between two ports of this machine; None: no more."""
    socket = _socket(client, server)
    return next((pid for pid in pids if _holds(pid, socket)), None) if socket else None


def _socket(client: int, server: int) -> str | None:
    """What the client's end is called in its process's folder of open files."""
    line = rf": [0-9A-F]{{8}}:{client:04X} [0-9A-F]{{8}}:{server:04X} (?:\S+ +){{6}}(\d+)"
    found = re.search(line, CONNECTIONS.read_text())
    return f"socket:[{found[1]}]" if found else None


def _holds(pid: int, socket: str) -> bool:
    """A process that ends meanwhile holds nothing."""
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(file.readlink()) == socket:
                    return True
    return False
