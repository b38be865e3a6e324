"""The customer's own server: pictures to download, and a webhook receiver that is often in a bad mood."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from standardwebhooks import Webhook, WebhookVerificationError

from tests.integration.net.servers import reply
from tests.integration.net.tcp import listening
from tests.integration.receiver import Post, read_post
from tests.torture.content import picture
from tests.torture.fleet import Slot
from tests.torture.plan import WEBHOOK_TIMEOUT
from tests.torture.senders import sender_of

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Mood(StrEnum):
    """What comes of a POST to the webhook. SLOW is in time, LATE is not: the sender has hung up by then."""

    GOOD = "good"
    SLOW = "slow"
    FAIL = "fail"
    HANG = "hang"
    RESET = "reset"
    LATE = "late"

    @property
    def thanks(self) -> bool:
        """Whether the sender gets a 2xx."""
        return self in (Mood.GOOD, Mood.SLOW)


BAD = (Mood.FAIL, Mood.HANG, Mood.RESET, Mood.LATE)


@dataclass(frozen=True)
class Arrival:
    """A POST to the webhook of the batch with the number `batch`, `at` ms since 1970. signed: by the right secret.

    sender: the id of the worker's process; None: it was gone when its POST was read.
    """

    at: int
    batch: int
    post: Post
    mood: Mood
    signed: bool
    sender: int | None

    @property
    def id(self) -> str:
        return self.post.headers.get("webhook-id", "")

    @property
    def left(self) -> int:
        """The latest time at which it was sent, in ms since 1970: a receiver that is short of time reads it later."""
        stamp = self.post.headers.get("webhook-timestamp")
        return self.at if stamp is None else min(self.at, int(stamp) * 1000 + 999)


@dataclass
class Customer:
    """An HTTP server on 127.0.0.1. `/picture/N` gives picture N; a POST to `/hook/…?batch=N` is logged.

    The moods in which a batch's webhook is received follow from `seed` and its number; after some bad ones it is good.
    """

    seed: int
    secret: str = ""
    workers: Sequence[Slot] = ()
    arrivals: list[Arrival] = field(default_factory=list)
    url: str = ""
    _came: Counter[int] = field(default_factory=Counter)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Customer]:
        async with listening(self._serve, backlog=1024) as listener:
            self.url = f"http://127.0.0.1:{listener.port}"
            yield self

    @property
    def received(self) -> int:
        """Batches whose webhook has come."""
        return len(self._came)

    def moods(self, batch: int) -> tuple[Mood, ...]:
        """For the first POSTs about a batch; those that follow are received well.

        A third is received badly: at two thirds and more, circuit breakers would keep most webhooks back for 30 s.
        """
        rng = random.Random(f"moods {self.seed} {batch}")
        bad = rng.choices(BAD, k=rng.choice((0, 0, 0, 0, 0, 0, 1, 1, 1, 2)))
        return (*bad, rng.choice((Mood.GOOD, Mood.GOOD, Mood.SLOW)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        post = await read_post(reader)
        target = urlsplit(post.target)
        if target.path.startswith("/picture/"):
            writer.write(reply(200, picture(int(target.path.rpartition("/")[2]))))
        else:
            await self._receive(post, int(parse_qs(target.query)["batch"][0]), reader, writer)
        await writer.drain()

    async def _receive(
        self, post: Post, batch: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        moods = self.moods(batch)
        mood = moods[min(self._came[batch], len(moods) - 1)]
        self._came[batch] += 1
        at, sender = time.time_ns() // 1_000_000, self._sender(writer)
        self.arrivals.append(Arrival(at, batch, post, mood, self._is_signed(post), sender))
        match mood:
            case Mood.SLOW:
                await asyncio.sleep(WEBHOOK_TIMEOUT / 4)
            case Mood.HANG:
                await reader.read()
                return
            case Mood.LATE:
                await asyncio.sleep(WEBHOOK_TIMEOUT * 1.5)
            case Mood.RESET:
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
                return
        writer.write(reply(500 if mood is Mood.FAIL else 200, b"received"))

    def _sender(self, writer: asyncio.StreamWriter) -> int | None:
        (_, client), (_, server) = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        return sender_of(client, server, [worker.pid for worker in self.workers if worker.pid is not None])

    def _is_signed(self, post: Post) -> bool:
        try:
            Webhook(self.secret).verify(post.body, post.headers, json_parse=False)
        except WebhookVerificationError:
            return False
        return True
