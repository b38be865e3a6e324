"""Receivers that mean harm, each facing the sender of a real worker: what it records, and that it lets go of them."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import Row, select

from broker.store.tables import AttemptRow, DeliveryRow, table
from tests.integration.net.servers import redirect, reply
from tests.integration.net.tcp import Behaviour
from tests.integration.owed import shown_answers
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, StartWorker, until
from tests.integration.trap import Trap, never_listens, repeats, reset, resets, says, waits
from tests.integration.work.facing import (
    INVALID,
    LOST,
    OK,
    TIMEOUT,
    all_faced,
    announce,
    attempts,
    faced,
    outcomes,
    tries,
)

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = HEAD + b"Content-Length: 50000\r\n\r\n"
BOMB = gzip.compress(b"x" * 50_000_000)
KEPT = 20_000


async def resets_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def resets_in_the_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n")
    reset(writer)


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


async def responses(broker: Broker, found: Mapping[str, Sequence[Row[Any]]]) -> set[str | None]:
    """What is shown of all the answers of these tries."""
    ids = {row.delivery_id for rows in found.values() for row in rows}
    return {shown for id in ids for shown in await shown_answers(broker, id)}


async def test_a_receiver_that_keeps_the_sender_waiting_is_left_at_the_deadline(
    broker: Broker, start_worker: StartWorker
) -> None:
    await start_worker(webhook_schedule=("0",), webhook_timeout=1)
    found = await all_faced(broker, SLOW)
    assert outcomes(found) == dict.fromkeys(SLOW, TIMEOUT)
    assert await responses(broker, found) == {""}


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
    assert await responses(broker, found) == {"x" * KEPT}


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
        assert tries(await faced(broker, resets_at_once)) == LOST


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
    shown = BOMB[:KEPT].decode("utf-8", "replace").replace("\0", "")
    assert await shown_answers(broker, attempt.delivery_id) == [shown]


async def test_a_body_that_is_no_text_takes_no_more_room_than_text(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    await start_worker(webhook_schedule=("0",))
    receiver.answers = [reply(200, b"\xff" * KEPT * 2)]
    (attempt,) = await attempts(broker, await announce(broker, receiver.url()))
    assert KEPT < len(attempt.response) < KEPT + 100
    assert await shown_answers(broker, attempt.delivery_id) == ["\ufffd" * KEPT]


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
