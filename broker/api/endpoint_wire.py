"""The shapes of webhook endpoints and test pings, made from what the use cases tell."""

from __future__ import annotations

from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from broker.api.own_options import Options
from broker.api.own_wire import MAX_PAGE_SIZE, Exact, Page
from broker.deliveries import MAX_HEADERS
from broker.dialects.ximilar.codec import utc_time
from broker.dialects.ximilar.wire import Time
from broker.endpoint_query import Standing
from broker.endpoints import Breaker
from broker.ping import Pong
from broker.webhooks.post import RESPONSE_BYTES

HealthWord = Literal["healthy", "failing", "disabled"]
BreakerWord = Literal["closed", "open", "half-open"]
VerdictWord = Literal["done", "later", "never"]


class WebhookEndpoint(Exact):
    """Where webhooks of a workspace go, and how healthy that is."""

    id: str = Field(pattern="^[0-9a-f]{32}$", description="The endpoint's id.")
    workspace: UUID = Field(description="The workspace whose webhooks go there.")
    url: str = Field(description="The URL as it was given, without its query.")
    state: HealthWord = Field(description="`failing`: tried all the same; `disabled`: sent nothing until enabled.")
    reason: str | None = Field(description="Why it is not healthy; null when it is.")
    since: Time = Field(description="Since when it is in this state, in UTC.")
    failures: int = Field(ge=0, description="Tries that failed since the last that did not.")
    failing_since: Time | None = Field(description="When the first of these failed, in UTC; null without any.")
    breaker: BreakerWord = Field(
        description="The circuit breaker. `open`: nothing is sent for now, what is due waits; `half-open`: the next "
        "try decides."
    )
    open_until: Time | None = Field(description="Until when it is open, in UTC; null unless it is.")
    pending: int = Field(ge=0, description="Webhooks that it is owed: due, due later, or held back.")
    created: Time = Field(description="When the first webhook for it was owed, in UTC.")

    @classmethod
    def of(cls, standing: Standing) -> Self:
        condition = standing.condition
        return cls(
            id=standing.id,
            workspace=UUID(standing.workspace),
            url=standing.url,
            state=condition.state.value,
            reason=condition.reason,
            since=utc_time(condition.since),
            failures=condition.failures,
            failing_since=_time(condition.failing_since),
            breaker=standing.breaker.value,
            open_until=_time(condition.open_until if standing.breaker is Breaker.OPEN else None),
            pending=standing.pending,
            created=utc_time(standing.created),
        )


class WebhookEndpointPage(Page):
    """A page of endpoints, newest first."""

    results: list[WebhookEndpoint] = Field(max_length=MAX_PAGE_SIZE, description="The endpoints of this page.")


class WebhookTest(Options):
    """Where a test goes, as a batch's `webhook` would say it."""

    url: str = Field(description="Where to send it.")
    headers: dict[str, str] | None = Field(
        None,
        description="Headers of your own to send along; no answer and no log shows them.",
        json_schema_extra={"maxProperties": MAX_HEADERS},
    )


class WebhookTestResult(Exact):
    """What came of a test."""

    id: UUID = Field(description="The `webhook-id` that it was sent with.")
    status_code: int | None = Field(ge=200, le=999, description="What the receiver answered; null for no answer.")
    error: str | None = Field(
        description="Why there was no answer: `address not allowed`, `timeout`, `name not found` …; null for one."
    )
    duration_ms: int = Field(ge=0, description="How long it took, in milliseconds.")
    response: str = Field(max_length=RESPONSE_BYTES, description="The beginning of the answer's body.")
    verdict: VerdictWord = Field(
        description="What it would mean for a real webhook. `done`: delivered; `later`: tried again on the schedule; "
        "`never`: given up."
    )

    @classmethod
    def of(cls, pong: Pong) -> Self:
        answer = pong.answer
        return cls(
            id=UUID(pong.id),
            status_code=answer.status_code,
            error=answer.error,
            duration_ms=pong.duration_ms,
            response=pong.response,
            verdict=answer.verdict.value,
        )


def _time(ms: int | None) -> str | None:
    return None if ms is None else utc_time(ms)
