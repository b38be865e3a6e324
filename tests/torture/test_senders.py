"""The sender of a POST is found while it holds its connection, and nobody is taken for it afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.torture.senders import sender_of

CONNECT = "import socket, sys; held = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"


@contextmanager
def connected() -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A process that holds a connection until its input ends, and the two ports."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", CONNECT, str(port)], stdin=subprocess.PIPE) as process:
            connection, (_, client) = server.accept()
            with connection:
                yield process, client, port


def test_the_process_that_holds_the_connection_is_found_among_others() -> None:
    with connected() as (process, client, server):
        assert sender_of(client, server, [os.getpid(), process.pid]) == process.pid


def test_nobody_else_is_taken_for_it() -> None:
    with connected() as (_, client, server):
        assert sender_of(client, server, [os.getpid()]) is None


def test_a_process_that_was_killed_is_not_found() -> None:
    with connected() as (process, client, server):
        process.kill()
        process.wait()
        assert sender_of(client, server, [os.getpid(), process.pid]) is None
