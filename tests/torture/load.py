"""The load: clients that post batches, and some that cancel or retry them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from tests.acceptance.broker import ROOT
from tests.torture.client import Client, open_client
from tests.torture.content import Work
from tests.torture.customer import Customer
from tests.torture.fleet import Slot

LOOK_SECONDS = 1.0
PATIENCE = 20.0
"""Seconds that a client waits for a batch to be DONE before it gives up its wish to retry it."""
TWICE = 0.05
"""The part of POSTs that is sent twice at once, as by a client that lost patience."""


@dataclass(frozen=True)
class Pace:
    """How hard the load is: POSTs a second, and at how many outstanding webhooks they stop."""

    a_second: float = 16.0
    open: int = 200


@dataclass
class Posted:
    """A batch that was posted. ids: what its 2xx answers named. refusals: answers that must not come.

    cancelled: whether a cancellation was granted; None: it was not asked for.
    retried: how many retries were granted; asked: how many were sent, as one may be granted and its answer lost.
    """

    work: Work
    ids: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    cancelled: bool | None = None
    retried: int = 0
    asked: int = 0


@dataclass
class Load:
    """Posts `works`, which never ends, to the webs. `posted` has all that were begun."""

    works: Iterator[Work]
    webs: list[Slot]
    token: str
    customer: Customer
    seed: int
    pace: Pace
    posted: list[Posted] = field(default_factory=list)

    async def post_for(self, seconds: float) -> None:
        """Returns when every batch that was begun within `seconds` is answered."""
        rng = random.Random(f"load {self.seed}")
        turn = time.monotonic()
        end = turn + seconds
        async with open_client(self.webs, self.token) as client, asyncio.TaskGroup() as group:
            while (turn := turn + rng.expovariate(self.pace.a_second)) < end:
                await asyncio.sleep(max(0.0, turn - time.monotonic()))
                if self._outstanding >= self.pace.open:
                    continue
                posted = Posted(next(self.works))
                self.posted.append(posted)
                group.create_task(self._serve(client, posted))
                if rng.random() < TWICE:
                    group.create_task(self._post(client, posted))

    @property
    def _outstanding(self) -> int:
        return sum(posted.work.webhook for posted in self.posted) - self.customer.received

    async def _serve(self, client: Client, posted: Posted) -> None:
        """Everything that one customer wants of one batch."""
        id = await self._post(client, posted)
        if id is None:
            return
        await asyncio.sleep(posted.work.second_thought)
        if posted.work.wish.cancels:
            await _cancel(client, posted, id)
        if posted.work.wish.retries:
            await _retry(client, posted, id)

    async def _post(self, client: Client, posted: Posted) -> str | None:
        """The id of the batch, once it is accepted."""
        body = posted.work.body(self.customer.url)
        answered = await client.post(ROOT, body, {"Idempotency-Key": posted.work.key})
        if not answered.response.is_success:
            _note_refusal(posted, answered.response)
            return None
        id = str(answered.response.json()["id"])
        posted.ids.append(id)
        return id


async def _cancel(client: Client, posted: Posted, id: str) -> None:
    """Granted, or refused as it has ended by itself."""
    response = (await client.post(f"/api/batches/{id}/cancel", {})).response
    posted.cancelled = response.is_success
    if not (response.is_success or response.status_code == httpx.codes.CONFLICT):
        _note_refusal(posted, response)


async def _retry(client: Client, posted: Posted, id: str) -> None:
    """Once the batch is DONE. A repeated POST is refused while the run that the first one asked for is not over."""
    end = time.monotonic() + PATIENCE
    while (await client.get(f"{ROOT}/{id}/status")).response.json() != {"status": "DONE"}:
        if time.monotonic() > end:
            return
        await asyncio.sleep(LOOK_SECONDS)
    answered = await client.post(f"/api/batches/{id}/retry", {"all": True})
    posted.asked += answered.tries
    if answered.response.is_success:
        posted.retried += 1
    elif answered.tries == 1 or answered.response.status_code != httpx.codes.CONFLICT:
        _note_refusal(posted, answered.response)


def _note_refusal(posted: Posted, response: httpx.Response) -> None:
    posted.refusals.append(f"{response.request.url.path}: {response.status_code} {response.text[:200]}")
