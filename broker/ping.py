"""Test pings: one signed webhook at once, to see how a receiver takes it. Nothing of it is kept, none is sent again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from broker.batches import new_id
from broker.deliveries import require_headers
from broker.errors import Invalid, Unavailable
from broker.webhooks.notices import told
from broker.webhooks.post import Answer, Poster

EVENT = "webhook.test"
AT_ONCE = 8
"""Pings of a process: whoever has a token can make it send to anybody."""
BUSY_SECONDS = 5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pong:
    """What came of the ping `id`, and how long that took."""

    id: str
    answer: Answer
    duration_ms: int


@dataclass(slots=True)
class Ping:
    """The use case. One a web process. check_url: raises Invalid, with a text for the customer."""

    poster: Poster
    check_url: Callable[[str], None]
    _under_way: int = field(default=0, init=False)

    async def __call__(self, workspace: str, url: str, headers: Mapping[str, str]) -> Pong:
        """POST a webhook of `workspace` to `url`, as a real one would be.

        Raises Invalid, whose fields name what a submission would be refused for, and Unavailable.
        """
        self._check(url, headers)
        if self._under_way >= AT_ONCE:
            raise Unavailable("Too many tests are under way. Try again shortly.", retry_after=BUSY_SECONDS)
        self._under_way += 1
        try:
            return await self._send(workspace, url, headers)
        finally:
            self._under_way -= 1

    def _check(self, url: str, headers: Mapping[str, str]) -> None:
        try:
            self.check_url(url)
        except Invalid as error:
            raise Invalid(fields={"url": [error.message]}) from error
        require_headers(headers)

    async def _send(self, workspace: str, url: str, headers: Mapping[str, str]) -> Pong:
        id, started = new_id(), time.monotonic()
        body = told(EVENT, int(time.time() * 1000), {"workspace": workspace})
        answer = await self.poster.send(workspace, id, url, headers, body)
        pong = Pong(id, answer, int((time.monotonic() - started) * 1000))
        log.info(
            "webhook.tested",
            webhook=id,
            workspace=workspace,
            status_code=answer.status_code,
            error=answer.error,
            ms=pong.duration_ms,
        )
        return pong
