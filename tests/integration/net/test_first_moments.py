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
        yield listener.getsockname()[1]
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

    async def post() -> None:
        async with asyncio.timeout(30):
            await client.post(url, {}, b"{}", 10)

    async with post_client(policy, connections=AT_ONCE) as client:
        results = await asyncio.gather(*(post() for _ in range(TIMES)), return_exceptions=True)
    return [result for result in results if result is not None]
