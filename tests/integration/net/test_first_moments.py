"""Receivers that hang up, or speak, before anything was sent to them: on uvloop, which tells of it at any moment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, TypeAlias

import httpcore
import pytest
import uvloop

from broker.net.client import post_client

if TYPE_CHECKING:
    from broker.net.addresses import Policy

TIMES = 200
AT_ONCE = 10
PATIENCE = 30
"""Seconds in which one POST of them all must end, on the slowest machine."""

Greet: TypeAlias = Callable[[socket.socket], object]


@contextmanager
def greeting(greet: Greet) -> Iterator[int]:
    """The port of a server that does this with each connection as soon as it is there. On a thread, as from afar."""

    def serve() -> None:
        with ExitStack() as kept, suppress(OSError):
            while True:
                connection = kept.enter_context(listener.accept()[0])
                with suppress(OSError):
                    greet(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "greet",
    [
        pytest.param(socket.socket.close, id="hangs up"),
        pytest.param(lambda connection: connection.sendall(b"220 mail.test ESMTP\r\n"), id="speaks"),
    ],
)
def test_who_does_not_wait_for_a_request_is_a_connection_that_failed(
    only_site: Policy, scheme: str, greet: Greet
) -> None:
    with greeting(greet) as port:
        failures = uvloop.run(fail(only_site, f"{scheme}://127.0.0.1:{port}/"))
    assert [one for one in failures if not isinstance(one, httpcore.NetworkError | httpcore.ProtocolError)] == []


async def fail(policy: Policy, url: str) -> list[BaseException]:
    """What came of many POSTs, none of which is answered."""
    async with post_client(policy, connections=AT_ONCE) as client:
        posts = {asyncio.ensure_future(client.post(url, {}, b"{}", 10)) for _ in range(TIMES)}
        left = posts
        while left:
            ended, left = await asyncio.wait(left, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            assert ended, f"{len(left)} hang"
        return [failure for post in posts if (failure := post.exception())]
