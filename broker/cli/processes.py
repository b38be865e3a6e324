"""How the processes of a broker begin and listen."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, TypeVar

import structlog
import uvloop

from broker import logs
from broker.cli.signals import end_soon, on_stop
from broker.errors import BrokerError, Misconfigured
from broker.settings import Settings, load, unknown_names

RECYCLED = 75
"""Exit status of a worker that shall be started anew (EX_TEMPFAIL of sysexits.h): a handler's thread does not end."""

SWITCH_SECONDS = 0.0005
"""After which a thread lets go of Python's global lock when another wants it. Python's own 5 ms are waited for again
and again in one request, when a thread that masks an answer or runs a handler is busy beside the event loop."""

RESOLVER = "timeout:2 attempts:2"
"""For glibc, before its first look-up: silent name servers hold a thread for 4 to 10 s, not 10 to 28."""

YOUNG_OBJECTS = 5_000
"""New objects after which Python looks for rings among them. With its own 700, whatever is under way at once is looked
at every 20 POSTs; it goes by itself, as next to nothing here is a ring."""

FILES = 8192
"""Open files that a process asks for, below what macOS grants at most."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
ARENAS = 2
"""Heaps that all threads share. By itself glibc has 16 on two cores, and each keeps what it once needed."""
OWN_BLOCK = 4 * 1024 * 1024
"""Bytes from which a block of memory is mapped by itself and goes back when it is freed. Smaller ones are used again,
as the first touch of a new page costs as much as reading JSON into it."""
KEPT = 8 * 1024 * 1024
"""Free bytes at the end of a heap that it keeps."""

log = structlog.get_logger()
T = TypeVar("T")


def begin(**options: object) -> Settings:
    """The settings of a process that serves or works, with its logs, its resolver and its open files set up.

    A name that is no setting is told.
    """
    settings = load(**options)
    logs.configure(settings.log_format, settings.log_level)
    os.environ.setdefault("RES_OPTIONS", RESOLVER)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_files()
    if "MALLOC_ARENA_MAX" not in os.environ:
        _mallopt(M_ARENA_MAX, ARENAS)
    for name in unknown_names():
        log.warning("settings.unknown", name=name)
    return settings


def _allow_files() -> None:
    """A worker may have 512 webhooks under way and as many connections for later; systems begin with 256 or 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop."""
    return uvloop.run(main)


def run_to_its_end(main: Coroutine[Any, Any, int]) -> None:
    """Run the coroutine of a process that serves or works on uvloop, and end the process with the status it returns.

    A signal cancels `main`, and the status is 0, until it says with `on_stop` how it stops. All that has to be closed
    is closed by then. What is left, a coroutine that swallows its cancellation or a thread that hangs, does not keep
    the process, nor for long if an error ends `main`.
    """
    uvloop.run(_end_with(main))


async def _end_with(main: Coroutine[Any, Any, int]) -> None:
    task = asyncio.ensure_future(main)
    on_stop(task.cancel, lambda: None)
    try:
        await asyncio.wait({task})
        status = 0 if task.cancelled() and task.cancelling() else task.result()
    except BaseException as error:
        if not isinstance(error, BrokerError):
            log.error("process.failed", exc_info=True)  # what is left may keep Python from showing it
        end_soon(1)
        raise
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def keep_little_memory() -> None:
    """Have what large bodies needed go back to the system. By itself glibc learns from them to keep as much."""
    _mallopt(M_MMAP_THRESHOLD, OWN_BLOCK)
    _mallopt(M_TRIM_THRESHOLD, KEPT)


def _mallopt(option: int, value: int) -> None:
    """Set an option of glibc's malloc; other C libraries are left alone."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(option, value)


def freeze() -> None:
    """What lives from the start on is never looked at again: a full collection costs 20 ms otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Misconfigured where there can be none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (while attempting")[0]  # behind that, Python names the address again
        raise Misconfigured(f"cannot listen on {host} port {port}: {reason}") from error


def address_of(listening: socket.socket) -> str:
    """The URL under which a listening socket is reached from this machine."""
    host, port = listening.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
