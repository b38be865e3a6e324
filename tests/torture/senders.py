"""Tells which process sent a POST, by the kernel's tables, as neither the POST nor the database says it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

CONNECTIONS = Path("/proc/net/tcp")
_LOCAL, _PEER, _INODE = 1, 2, 9


def sender_of(client: int, server: int, pids: Iterable[int]) -> int | None:
    """Which of `pids` holds the client's end of an IPv4 connection between two ports of this machine; None: no more."""
    socket = _socket(client, server)
    return next((pid for pid in pids if _holds(pid, socket)), None) if socket else None


def _socket(client: int, server: int) -> str | None:
    """What the client's end is called in its process's folder of open files."""
    for line in CONNECTIONS.read_text().splitlines()[1:]:
        fields = line.split()
        if (_port(fields[_LOCAL]), _port(fields[_PEER])) == (client, server):
            return f"socket:[{fields[_INODE]}]"
    return None


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _holds(pid: int, socket: str) -> bool:
    """A process that ends meanwhile holds nothing."""
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(file.readlink()) == socket:
                    return True
    return False
