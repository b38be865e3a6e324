"""Receivers that mean harm, each facing the sender of a real worker: what it records, and that it lets go of them."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import Row, select

from broker.net.guard import system_ssl_context
from broker.store.tables import AttemptRow, DeliveryRow, table
from tests.integration.net.authority import Authority
from tests.integration.net.servers import redirect, reply
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartWorker, until
from tests.integration.trap import Behaviour, Trap, repeats, reset, resets, says, until_left, waits

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""All that `localhost` may be."""

NO_IMAGE = {"_base64": "aGVsbG8="}
"""A record that is done as soon as it is looked at."""

Try: TypeAlias = tuple[str, int | None, str | None]
"""The state of a delivery in the end, and the status and the error of an attempt at it, as they are recorded."""

OK: Sequence[Try] = [("delivered", 200, None)]
TIMEOUT: Sequence[Try] = [("exhausted", None, "timeout")]
INVALID: Sequence[Try] = [("exhausted", None, "invalid answer")]
LOST: Sequence[Try] = [("exhausted", None, "connection lost")]
FAILED: Sequence[Try] = [("exhausted", None, "connection failed")]

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = HEAD + b"Content-Length: 50000\r\n\r\n"
BOMB = gzip.compress(b"x" * 50_000_000)
KEPT = 20_000


async def never_listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await until_left(reader)


async def resets_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def resets_in_the_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n")
    reset(writer)


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


SLOW = {
    "never answers": never_listens,
    "drips its head": repeats(HEAD + b"X-Slow: ", b"x", 0.02),
    "drips headers": repeats(HEAD, b"X: y\r\n", 0.02),
    "drips its body": repeats(BODY, b"x", 0.02),
    "drips chunks": repeats(CHUNKED, b"1\r\nx\r\n", 0.02),
    "goes on asking to continue": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    "goes on with early hints": repeats(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0.02),
    "stops in its head": waits(HEAD + b"Content-Length: 5\r\n"),
    "stops before its body": waits(BODY),
    "stops in its body": waits(BODY, b"hello"),
    "says neither a length nor an end": waits(HEAD + b"\r\n", b"hello"),
}
ENDLESS = {
    "body": repeats(HEAD + b"\r\n", b"x" * 65536),
    "body of a terabyte": repeats(HEAD + b"Content-Length: 1000000000000\r\n\r\n", b"x" * 65536),
    "chunks": repeats(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    "chunks of one byte": repeats(CHUNKED, b"1\r\nx\r\n" * 1000),
}
MALFORMED = {
    "nothing": says(),
    "an empty line": says(b"\r\n\r\n"),
    "another protocol": says(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP/0.9": says(b"<html>hello</html>"),
    "HTTP/2": says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)),
    "bytes at random": says(bytes(range(256)) * 100),
    "half a head": says(HEAD + b"Content-Le"),
    "half a body": says(BODY, b"hello"),
    "half a chunk": says(CHUNKED, b"10\r\nhello"),
    "no number for a status": says(b"HTTP/1.1 OK\r\n\r\n"),
    "a status of four digits": says(b"HTTP/1.1 2000 OK\r\n\r\n"),
    "a status below 100": says(b"HTTP/1.1 099 OK\r\n\r\n"),
    "another protocol to switch to": says(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
    "a negative length": says(HEAD + b"Content-Length: -1\r\n\r\n"),
    "two lengths": says(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
    "a length of no number": says(HEAD + b"Content-Length: 0x2\r\n\r\nok"),
    "a chunk of no size": says(CHUNKED, b"zz\r\nhello\r\n"),
    "a header without a name": says(HEAD + b": x\r\n\r\n"),
    "a header with a NUL": says(HEAD + b"X: a\0b\r\n\r\n"),
    "a huge header": says(HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"),
    "a million headers": says(HEAD + b"X: y\r\n" * 1_000_000 + b"\r\n"),
    "endless headers": repeats(HEAD, b"X-More: " + b"x" * 1000 + b"\r\n"),
    "an endless status line": repeats(b"HTTP/1.1 200 ", b"O" * 65536),
    "an endless size of a chunk": repeats(CHUNKED, b"0" * 65536),
    "an endless extension of a chunk": repeats(CHUNKED + b"1;", b"x" * 65536),
    "endless trailers": repeats(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
    "endless early hints": repeats(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
}
BROKEN_OFF = {
    "in the request": resets_in_the_request,
    "before its answer": resets(),
    "in its head": resets(HEAD + b"Content-Le"),
    "in its body": resets(BODY, b"hello"),
    "in its chunks": resets(CHUNKED, b"5\r\nhel"),
}


async def announce(broker: Broker, url: str) -> str:
    """The id of a batch that will be announced to `url`."""
    accepted = await broker.post({"type": "upscaler", "records": [NO_IMAGE], "webhook": {"endpoint": url}})
    return str(accepted["id"])


async def attempts(broker: Broker, batch: str) -> Sequence[Row[Any]]:
    """Those of a batch's delivery, once no other follows."""
    ended = (
        select(_attempts, _deliveries.c.state)
        .join(_deliveries, _attempts.c.delivery_id == _deliveries.c.id)
        .where(_deliveries.c.batch_id == batch, _deliveries.c.state != "pending")
        .order_by(_attempts.c.number)
    )
    return await until(lambda: broker.store.rows(ended))


def tries(rows: Sequence[Row[Any]]) -> Sequence[Try]:
    """What came of them, once: one that died within a second, which depends on the machine, is repeated at once."""
    found = [(row.state, row.status_code, row.error) for row in rows]
    return found[:1] if found == found[:1] * 2 else found


async def faced(broker: Broker, behave: Behaviour, scheme: str = "http") -> Sequence[Row[Any]]:
    """The attempts at one such receiver. Fails unless the sender has hung up on it afterwards."""
    async with Trap(behave, scheme).listen() as trap:
        rows = await attempts(broker, await announce(broker, trap.url()))
        await trap.left()
    assert str(trap.port) not in str(tries(rows))
    return rows


async def all_faced(
    broker: Broker, receivers: Mapping[str, Behaviour], scheme: str = "http"
) -> Mapping[str, Sequence[Row[Any]]]:
    """The same of many at once."""
    found = await asyncio.gather(*(faced(broker, behave, scheme) for behave in receivers.values()))
    return dict(zip(receivers, found, strict=True))


def outcomes(found: Mapping[str, Sequence[Row[Any]]]) -> Mapping[str, Sequence[Try]]:
    return {name: tries(rows) for name, rows in found.items()}


async def test_a_receiver_that_keeps_the_sender_waiting_is_left_at_the_deadline(
    broker: Broker, start_worker: StartWorker
) -> None:
    await start_worker(webhook_schedule=("0",), webhook_timeout=1)
    found = await all_faced(broker, SLOW)
    assert outcomes(found) == dict.fromkeys(SLOW, TIMEOUT)
    assert {row.response for rows in found.values() for row in rows} == {""}


async def test_receivers_that_hang_do_not_hold_up_another(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    """Its webhook comes long before their deadline, which lies beyond this test's patience."""
    await start_worker(webhook_schedule=("0",), webhook_timeout=600)
    async with AsyncExitStack() as stack:
        traps = [await stack.enter_async_context(Trap(behave).listen()) for behave in SLOW.values()]
        for trap in traps:
            await announce(broker, trap.url())
        assert tries(await attempts(broker, await announce(broker, receiver.url()))) == OK
        assert [trap.connections for trap in traps] == [1] * len(SLOW)


async def test_an_endless_body_is_kept_to_20_kilobytes_and_left(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker(webhook_schedule=("0",))
    found = await all_faced(broker, ENDLESS)
    assert outcomes(found) == dict.fromkeys(ENDLESS, OK)
    assert {row.response for rows in found.values() for row in rows} == {"x" * KEPT}


async def test_a_malformed_answer_is_a_failure(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker(webhook_schedule=("0",))
    assert outcomes(await all_faced(broker, MALFORMED)) == dict.fromkeys(MALFORMED, INVALID)


async def test_a_connection_that_is_reset_is_a_failure(broker: Broker, start_worker: StartWorker) -> None:
    await start_worker(webhook_schedule=("0",))
    assert outcomes(await all_faced(broker, BROKEN_OFF)) == dict.fromkeys(BROKEN_OFF, LOST)


async def test_a_connection_that_is_reset_at_once_is_a_failure(broker: Broker, start_worker: StartWorker) -> None:
    """It may be dead before the guard can ask where it leads, or only when the webhook is written to it."""
    await start_worker(webhook_schedule=("0",))
    for _ in range(5):
        assert set(tries(await faced(broker, resets_at_once))) <= {*FAILED, *LOST}


@dataclass(frozen=True)
class Servers:
    """Makes the TLS of servers of `localhost`, which the broker takes to be 127.0.0.1, by an authority it trusts."""

    authority: Authority
    folder: Path

    def tls(self, host: str = "localhost", days: tuple[int, int] = (-1, 1)) -> ssl.SSLContext:
        return self.authority.server(host, self.folder, days)

    def strangers(self) -> ssl.SSLContext:
        """By an authority that nobody knows."""
        return Authority().server("localhost", self.folder)

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
        "right": servers.tls(),
        "for another name": servers.tls("other.test"),
        "for a name above": servers.tls("host"),
        "expired": servers.tls(days=(-2, -1)),
        "not valid yet": servers.tls(days=(1, 2)),
        "by a stranger": servers.strangers(),
    }
    found = {}
    for name, context in contexts.items():
        async with Trap(says(reply())).listen(context) as trap:
            found[name] = tries(await attempts(broker, await announce(broker, trap.url("localhost"))))
            assert (trap.connections > 0) is (name == "right")  # only those that made it through the handshake
    assert found == dict.fromkeys(contexts, FAILED) | {"right": OK}


async def test_a_server_that_demands_a_certificate_is_a_failure(
    broker: Broker, start_worker: StartWorker, servers: Servers
) -> None:
    """Told after the handshake, as TLS 1.3 has it, or in it."""
    await start_worker(webhook_schedule=("0",), allow_networks=LOOPBACK)
    async with Trap(says(reply())).listen(servers.demanding()) as trap:
        found = tries(await attempts(broker, await announce(broker, trap.url("localhost"))))
    assert set(found) <= {*FAILED, *LOST, *INVALID}


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
    assert outcomes(await all_faced(broker, broken, "https")) == dict.fromkeys(broken, FAILED)


async def test_a_redirect_leads_nowhere(broker: Broker, start_worker: StartWorker) -> None:
    """Not even where the broker may go."""
    await start_worker(webhook_schedule=("0",))
    async with Trap(says(reply())).listen() as private:
        ways = {
            f"{status} {location}": says(redirect(location, status))
            for status in (300, 301, 302, 303, 304, 307, 308)
            for location in (private.url(), "http://169.254.169.254/latest/", "", "http://[::1", "//")
        }
        found = await all_faced(broker, ways)
        assert outcomes(found) == {name: [("exhausted", int(name[:3]), None)] for name in ways}
        assert private.connections == 0


async def test_a_compressed_body_is_kept_as_it_came(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(webhook_schedule=("0",))
    receiver.answers = [reply(200, BOMB, {"Content-Encoding": "gzip"})]
    (attempt,) = await attempts(broker, await announce(broker, receiver.url()))
    assert receiver.posts[0].headers["accept-encoding"] == "identity"
    assert attempt.response == BOMB[:KEPT].decode("utf-8", "replace").replace("\0", "")


async def test_a_body_that_is_no_text_takes_no_more_room_than_text(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(webhook_schedule=("0",))
    receiver.answers = [reply(200, b"\xff" * KEPT * 2)]
    (attempt,) = await attempts(broker, await announce(broker, receiver.url()))
    assert attempt.response == "\ufffd" * (KEPT // 3)


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(says(reply(200, BOMB, {"Content-Encoding": "gzip"})), id="bomb"),
        pytest.param(ENDLESS["body"], id="endless body"),
        pytest.param(MALFORMED["endless headers"], id="endless headers"),
        pytest.param(MALFORMED["endless early hints"], id="endless early hints"),
    ],
)
async def test_no_answer_takes_much_memory(broker: Broker, start_worker: StartWorker, behave: Behaviour) -> None:
    await start_worker(webhook_schedule=("0",))
    tracemalloc.start()
    try:
        await faced(broker, behave)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


RETRY_AFTER = {
    "0": (0.8, 1.2),
    "-1": (0.8, 1.2),
    "1e9": (0.8, 1.2),
    "9" * 5000: (0.8, 1.2),
    "Wed, 21 Oct 2015 07:28:00 GMT": (0.8, 1.2),
    "Fri, 99 Dec 9999 23:59:59 GMT": (0.8, 1.2),
    "9000.5": (1.25, 1.26),
    "999999999": (1.6, 2.4),
    "Fri, 31 Dec 9999 23:59:59 GMT": (1.6, 2.4),
}
"""Value -> the pause after it, at least and at most, in pauses of the schedule."""


async def test_no_retry_after_makes_the_pause_shorter_or_more_than_twice_as_long(
    broker: Broker, start_worker: StartWorker
) -> None:
    schedule = 7200
    await start_worker(webhook_schedule=("0", str(schedule)))
    pauses = {}
    for value in RETRY_AFTER:
        async with Trap(says(reply(503, b"", {"Retry-After": value}))).listen() as trap:
            pauses[value] = await pause(broker, await announce(broker, trap.url())) / schedule
    wrong = {value: pauses[value] for value, (least, most) in RETRY_AFTER.items() if not least <= pauses[value] <= most}
    assert wrong == {}


async def pause(broker: Broker, batch: str) -> float:
    """The seconds between the first try at a batch's delivery and the next. By the database's clock."""
    due = (_deliveries.c.due - _attempts.c.started - _attempts.c.duration_ms).label("pause")
    judged = (
        select(due)
        .join(_attempts, _attempts.c.delivery_id == _deliveries.c.id)
        .where(_deliveries.c.batch_id == batch, _attempts.c.duration_ms.is_not(None))
    )

    async def first() -> float | None:
        rows = await broker.store.rows(judged)
        return rows[0].pause / 1000 if rows else None

    return await until(first)
