"""Receivers that mean harm before a word of HTTP: certificates and TLS handshakes, each facing a real sender."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.net.guard import system_ssl_context
from tests.integration.net.authority import CA, Authority
from tests.integration.net.servers import reply
from tests.integration.net.tcp import Behaviour
from tests.integration.running import Broker, StartWorker
from tests.integration.trap import Trap, never_listens, reset, says, until_left
from tests.integration.work.facing import (
    INVALID,
    LOST,
    NO_TLS,
    OK,
    TIMEOUT,
    all_faced,
    announce,
    attempts,
    outcomes,
    tries,
)

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""All that `localhost` may be."""


async def drips_a_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x03\x40\x00")  # the header of a record of 16 KiB
    while True:
        writer.write(b"\x02")
        await writer.drain()
        await asyncio.sleep(0.02)


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def resets_in_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    reset(writer)


async def speaks_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply())
    await until_left(reader)


async def alerts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # fatal: handshake failure
    await until_left(reader)


@dataclass(frozen=True)
class Servers:
    """Makes the TLS of servers of `localhost`, which the broker takes to be 127.0.0.1, by an authority it trusts."""

    authority: Authority
    folder: Path

    def tls(self, host: str = "localhost", days: tuple[int, int] = (-1, 1)) -> ssl.SSLContext:
        return self.authority.server(host, self.folder, days)

    def strangers(self, name: str = CA) -> ssl.SSLContext:
        """By an authority that nobody knows, though it may have a known one's name."""
        return Authority(name).server("localhost", self.folder)

    def demanding(self) -> ssl.SSLContext:
        """Which wants a certificate of the broker, that has none."""
        context = self.tls()
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    authority = Authority()
    trusted = tmp_path / "authorities.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    system_ssl_context.cache_clear()
    yield Servers(authority, tmp_path)
    system_ssl_context.cache_clear()


async def test_a_certificate_must_be_valid_for_the_name_and_by_a_known_authority(
    broker: Broker, start_worker: StartWorker, servers: Servers
) -> None:
    await start_worker(webhook_schedule=("0",), allow_networks=LOOPBACK)
    contexts = {
        "certificate not valid for this host": [servers.tls("other.test"), servers.tls("host")],
        "certificate expired": [servers.tls(days=(-2, -1))],
        "certificate not valid yet": [servers.tls(days=(1, 2))],
        "certificate of an unknown authority": [servers.strangers(), servers.strangers("Another CA")],
    }
    for problem, faulty in contexts.items():
        for context in faulty:
            async with Trap(says(reply())).listen(context) as trap:
                found = tries(await attempts(broker, await announce(broker, trap.url("localhost"))))
                assert (found, trap.connections) == ([("exhausted", None, problem)], 0)  # none after the handshake
    async with Trap(says(reply())).listen(servers.tls()) as trap:
        assert tries(await attempts(broker, await announce(broker, trap.url("localhost")))) == OK


async def test_a_server_that_demands_a_certificate_is_a_failure(
    broker: Broker, start_worker: StartWorker, servers: Servers
) -> None:
    """Told after the handshake, as TLS 1.3 has it, or in it."""
    await start_worker(webhook_schedule=("0",), allow_networks=LOOPBACK)
    async with Trap(says(reply())).listen(servers.demanding()) as trap:
        found = tries(await attempts(broker, await announce(broker, trap.url("localhost"))))
    assert set(found) <= {*NO_TLS, *LOST, *INVALID}


async def test_a_tls_handshake_that_does_not_end_is_left_at_the_deadline(
    broker: Broker, start_worker: StartWorker
) -> None:
    await start_worker(webhook_schedule=("0",), webhook_timeout=1)
    slow: dict[str, Behaviour] = {"says nothing": never_listens, "drips": drips_a_handshake}
    found = await all_faced(broker, slow, "https")
    assert outcomes(found) == dict.fromkeys(slow, TIMEOUT)


async def test_a_tls_handshake_that_fails_is_a_failure(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker(webhook_schedule=("0",))
    broken: dict[str, Behaviour] = {
        "hangs up": hangs_up,
        "resets": resets_in_the_handshake,
        "speaks no TLS": speaks_no_tls,
        "alerts": alerts,
    }
    assert outcomes(await all_faced(broker, broken, "https")) == dict.fromkeys(broken, NO_TLS) | {"resets": LOST}
