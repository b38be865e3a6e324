"""The load: clients that post batches and repeat a POST until it is answered, as a careful customer does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from tests.acceptance.broker import ROOT
from tests.torture.content import Work
from tests.torture.customer import Customer
from tests.torture.fleet import Slot

POST_SECONDS = 10.0
PAUSE_SECONDS = 0.1
TWICE = 0.05
"""The part of POSTs that is sent twice at once, as by a client that lost patience."""


@dataclass(frozen=True)
class Pace:
    """How hard the load is: POSTs a second, and at how many outstanding webhooks they stop."""

    a_second: float = 12.0
    open: int = 120


@dataclass
class Posted:
    """A batch that was posted. ids: what its 2xx answers named, in order. refusals: answers that must not come.

    tries: POSTs that were sent for it. accepted: ms since 1970 of its first 2xx.
    """

    work: Work
    ids: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    tries: int = 0
    accepted: int | None = None


@dataclass
class Load:
    """Posts `works`, which ends never, to the webs. `posted` has all that were begun."""

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
        headers = {"Authorization": f"Token {self.token}"}
        end = time.monotonic() + seconds
        async with (
            httpx.AsyncClient(headers=headers, timeout=POST_SECONDS, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            while time.monotonic() < end:
                await asyncio.sleep(rng.expovariate(self.pace.a_second))
                if self._outstanding >= self.pace.open:
                    continue
                posted = Posted(next(self.works))
                self.posted.append(posted)
                for _ in range(2 if rng.random() < TWICE else 1):
                    group.create_task(self._post(client, posted, rng.randrange(len(self.webs))))

    @property
    def _outstanding(self) -> int:
        return sum(posted.work.webhook for posted in self.posted) - self.customer.received

    async def _post(self, client: httpx.AsyncClient, posted: Posted, first: int) -> None:
        """Post to one web after the other until one says yes or no."""
        body = posted.work.body(self.customer.url)
        headers = {"Idempotency-Key": posted.work.key}
        web = first
        while True:
            web = (web + 1) % len(self.webs)
            posted.tries += 1
            try:
                answer = await client.post(self.webs[web].url + ROOT, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(PAUSE_SECONDS)
        if answer.is_success:
            posted.ids.append(str(answer.json()["id"]))
            posted.accepted = posted.accepted or time.time_ns() // 1_000_000
        else:
            posted.refusals.append(f"{answer.status_code} {answer.text[:200]}")
