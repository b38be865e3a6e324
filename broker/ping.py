"""Test pings: one signed webhook at once, to see how a receiver takes it. Nothing of it is kept, none is sent again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from broker.batches import new_id
from broker.deliveries import require_headers
from broker.errors import Invalid, TooManyAtOnce, Unavailable
from broker.webhooks.answers import Answers
from broker.webhooks.notices import told
from broker.webhooks.post import Answer, Poster

EVENT = "webhook.test"
AT_ONCE = 8
"""Pings of a process: whoever has a token can make it send to anybody."""
EACH = 2
"""Of these, those of one workspace, so that one whose receivers hang does not take them all."""
BUSY_SECONDS = 5
BUSY = "Too many tests are under way. Try again shortly."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pong:
    """What came of the ping `id`, and how long that took. response: what may be shown of the answer's body."""

    id: str
    answer: Answer
    response: str
    duration_ms: int


@dataclass(slots=True)
class Ping:
    """The use case. One a web process. check_url: raises Invalid, with a text for the customer."""

    poster: Poster
    answers: Answers
    check_url: Callable[[str], None]
    _under_way: Counter[str] = field(default_factory=Counter, init=False)

    async def __call__(self, workspace: str, url: str, headers: Mapping[str, str]) -> Pong:
        """POST a webhook of `workspace` to `url`, as a real one would be.

        Raises Invalid, whose fields name what a submission would be refused for, TooManyAtOnce and Unavailable.
        """
        self._check(url, headers)
        with self._slot(workspace):
            id, answer, duration_ms = await self._send(workspace, url, headers)
        return Pong(id, answer, await self.answers.shown(workspace, answer.body, url, headers), duration_ms)

    @contextmanager
    def _slot(self, workspace: str) -> Iterator[None]:
        if self._under_way[workspace] >= EACH:
            raise TooManyAtOnce(BUSY, retry_after=BUSY_SECONDS)
        if self._under_way.total() >= AT_ONCE:
            raise Unavailable(BUSY, retry_after=BUSY_SECONDS)
        self._under_way[workspace] += 1
        try:
            yield
        finally:
            self._under_way[workspace] -= 1
            self._under_way += Counter()  # drops those of which none is left

    def _check(self, url: str, headers: Mapping[str, str]) -> None:
        try:
            self.check_url(url)
        except Invalid as error:
            raise Invalid(fields={"url": [error.message]}) from error
        require_headers(headers)

    async def _send(self, workspace: str, url: str, headers: Mapping[str, str]) -> tuple[str, Answer, int]:
        id, started = new_id(), time.monotonic()
        body = told(EVENT, int(time.time() * 1000), {"workspace": workspace})
        answer = await self.poster.send(workspace, id, url, headers, body)
        duration_ms = int((time.monotonic() - started) * 1000)
        log.info(
            "webhook.tested",
            webhook=id,
            workspace=workspace,
            status_code=answer.status_code,
            error=answer.error,
            ms=duration_ms,
        )
        return id, answer, duration_ms
