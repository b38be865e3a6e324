"""A program that has the libraries loaded and forks, so that a command of `broker` need not load them anew.

It gets one datagram a command: the folder, the environment and the arguments in JSON, with the command's standard
streams and a pipe, into which goes the command's process id and, once it ends, its exit status as `Popen` has it.
The command is a process of its own which reads, imports and runs all of `broker` itself; what it shares with others is
the libraries alone. This program ends when nobody holds the other end of its socket.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

# None that starts a thread when it is loaded, which a fork would lose.
LIBRARIES = (
    *"aiosqlite alembic.command alembic.config arq.worker asyncpg certifi".split(),
    *"cryptography.hazmat.primitives.asymmetric.ed25519 cryptography.hazmat.primitives.ciphers.aead".split(),
    *"cryptography.hazmat.primitives.kdf.hkdf h11 httpcore httpx jinja2 obstore.store publicsuffixlist".split(),
    *"pydantic_settings redis.asyncio rich.console rich.live rich.progress rich.table".split(),
    *"sqlalchemy.dialects.postgresql.asyncpg sqlalchemy.dialects.sqlite.aiosqlite sqlalchemy.ext.asyncio".split(),
    *"sqlmodel starlette.applications starlette.requests starlette.staticfiles starlette.templating structlog".split(),
    *"typer.main uvicorn.lifespan.off uvicorn.protocols.http.httptools_impl uvloop".split(),
)
MOST = 1 << 18
"""Bytes of a datagram; streams are four."""


def main() -> None:
    here = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        import_module(name)
    if len([*Path("/proc/self/task").iterdir()]) > 1:
        raise SystemExit("a library has started a thread")
    gc.collect()
    gc.freeze()
    if _is_command(here):
        runpy.run_module("broker", run_name="__main__", alter_sys=True)


def _is_command(here: socket.socket) -> bool:
    """Fork for each datagram. True in a process that shall be a command; False at the end, in the one that forks."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(here, MOST, 4)
        _reap()
        if not message:
            return False
        if os.fork() == 0:
            *streams, status = descriptors
            command = os.fork()
            if command:
                _tell_end(command, status)
            os.setsid()
            os.write(status, b"%d\n" % os.getpid())
            _become(streams, **json.loads(message))
            return True
        for descriptor in descriptors:
            os.close(descriptor)


def _tell_end(command: int, status: int) -> NoReturn:
    """Wait for a command, its parent."""
    os.closerange(0, status)
    os.closerange(status + 1, 256)
    _, ended = os.waitpid(command, 0)
    os.write(status, b"%d\n" % os.waitstatus_to_exitcode(ended))
    os._exit(0)


def _become(streams: Sequence[int], folder: str, environment: Mapping[str, str], arguments: Sequence[str]) -> None:
    """What `python -m` finds when it starts: its streams and nothing else open, its environment, its paths."""
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
    os.closerange(3, 256)
    os.chdir(folder)
    installed = [path for path in sys.path[1:] if path not in _own_paths()]
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [folder, *_own_paths(), *installed]
    sys.argv[:] = ["broker", *arguments]


def _own_paths() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _reap() -> None:
    """Those that told of an end."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    main()
