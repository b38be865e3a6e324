"""The shapes in which our own routes show deliveries. Values of customers' headers are in none of them."""

from __future__ import annotations

from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from broker import replay
from broker.api.own_wire import MAX_PAGE_SIZE, Exact, Page, Refused
from broker.delivery_query import DeliveryDetails, ShownDelivery, ShownTry
from broker.dialects.ximilar.codec import utc_time
from broker.dialects.ximilar.wire import Time

MASK = "***"

StateWord = Literal["pending", "delivered", "exhausted", "refused", "superseded", "stopped"]
LostWord = Literal["failed", "missing"]


class Delivery(Exact):
    """How a webhook stands that is owed or was."""

    id: UUID = Field(description="Its id, which is sent as `webhook-id`: the same with every try.")
    workspace: UUID = Field(description="The workspace that it belongs to.")
    batch: UUID | None = Field(description="The batch that it tells of; null for what the operator is told.")
    run: int = Field(ge=1, description="Which of the batch's runs.")
    event: str = Field(description="What it tells.")
    endpoint: str = Field(description="The endpoint that it goes to.")
    url: str = Field(description="Where it goes, without the query.")
    state: StateWord = Field(
        description="`pending`: tries may follow. `delivered`: answered with 2xx. `exhausted`: all tries failed. "
        "`refused`: its address is not allowed. `superseded`: its batch was run again before it arrived. `stopped`: "
        "the receiver wants no more, or its endpoint was disabled."
    )
    attempts: int = Field(ge=0, description="The tries so far, with one that is under way.")
    next_try: Time | None = Field(
        description="When the next try is due, in UTC; during one, when it would be repeated if its sender died. Null "
        "where none is owed, and while it is held back."
    )
    held: bool = Field(description="Whether it waits because its endpoint is broken, or has all the tries it can take.")
    manual: bool = Field(description="Whether the next try is one that was asked for.")
    created: Time = Field(description="Since when it is owed, in UTC.")
    finished: Time | None = Field(description="When it came to its end, in UTC; null while it is `pending`.")

    @classmethod
    def of(cls, shown: ShownDelivery) -> Self:
        return cls.model_validate(_values(shown))


class Try(Exact):
    """One try at sending it."""

    number: int = Field(ge=1, description="From 1.")
    manual: bool = Field(description="Whether it was asked for. Such a one takes no place in the schedule.")
    started: Time = Field(description="When it began, in UTC.")
    duration_ms: int | None = Field(ge=0, description="How long it took; null while it is under way.")
    status_code: int | None = Field(description="What the receiver answered; null where it did not.")
    error: str | None = Field(description="Why there is no answer; null where there is one.")
    response: str | None = Field(description="The beginning of the answer's body.")

    @classmethod
    def of(cls, shown: ShownTry) -> Self:
        attempt = shown.stored
        return cls(
            number=attempt.number,
            manual=attempt.manual,
            started=utc_time(attempt.started),
            duration_ms=attempt.duration_ms,
            status_code=attempt.status_code,
            error=attempt.error,
            response=shown.response,
        )


class DeliveryWithTries(Delivery):
    """How a webhook stands, what is sent, and the tries so far."""

    headers: dict[str, Literal["***"]] = Field(
        description="Your own headers that are sent along; values are not shown."
    )
    body: str = Field(description="Exactly what is sent.")
    tries: list[Try] = Field(description="The tries, in their order.")

    @classmethod
    def with_tries(cls, details: DeliveryDetails) -> Self:
        return cls.model_validate(
            {
                **_values(details.shown),
                "headers": dict.fromkeys(details.headers, MASK),
                "body": details.body.decode(),
                "tries": [Try.of(one) for one in details.tries],
            }
        )


class DeliveryPage(Page):
    """A page of deliveries, newest first."""

    results: list[Delivery] = Field(max_length=MAX_PAGE_SIZE, description="The deliveries of this page.")


class Replayed(Exact):
    """What a replay of many deliveries did."""

    replayed: int = Field(ge=0, description="Deliveries that are sent again.")
    refused: int = Field(
        ge=0, description="Deliveries that are not: their endpoint is disabled, or they are being sent."
    )
    refusals: list[Refused] = Field(max_length=replay.NAMED, description="The first of these, with the reason of each.")

    @classmethod
    def of(cls, done: replay.Replayed) -> Self:
        refusals = [{"id": id, "reason": reason} for id, reason in done.refusals]
        return cls.model_validate({"replayed": done.count, "refused": done.refused, "refusals": refusals})


def _values(shown: ShownDelivery) -> dict[str, object]:
    stored = shown.stored
    return {
        "id": stored.id,
        "workspace": stored.workspace,
        "batch": stored.batch,
        "run": stored.run,
        "event": stored.event,
        "endpoint": stored.endpoint,
        "url": shown.url,
        "state": stored.state.value,
        "attempts": stored.attempts,
        "next_try": None if stored.due is None else utc_time(stored.due),
        "held": stored.held,
        "manual": stored.manual,
        "created": utc_time(stored.created),
        "finished": None if stored.finished is None else utc_time(stored.finished),
    }
