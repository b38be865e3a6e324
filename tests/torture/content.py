"""What the torture submits: batches whose right results are known before they are sent."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle
from typing import Any

from tests.torture.plugin.torture_types import (
    ASYNC,
    ISOLATED,
    PROVE,
    PROVE_AGAIN,
    REFUSED,
    TIME_LIMIT,
    TORTURE,
    proof_of,
)

TYPES = (TORTURE.type, ASYNC.type, ISOLATED.type)
SHARES = (60, 30, 10)
"""How often each type comes: a process of one's own costs much."""
PICTURE_BYTES = (6_000, 40_000)
"""Of even and of odd ones: those lie in SQL, these are blobs."""
ENDPOINTS = 16
"""Of the customer: each has a health and a lane of its own."""


class Act(StrEnum):
    """What the handler does with a record. DIE takes its process down; OVERRUN goes on after its time limit."""

    PROVE = "prove"
    REFUSE = "refuse"
    DIE = "die"
    OVERRUN = "overrun"

    @property
    def harms(self) -> bool:
        """Whether others may suffer from it."""
        return self in (Act.DIE, Act.OVERRUN)


HARMS = tuple(zip(TYPES * 2, (Act.OVERRUN, Act.DIE) * 3, strict=True))
"""Each type with each act that harms."""


class Wish(StrEnum):
    """What the customer wants of a batch besides. CANCEL: soon after it was accepted. RETRY: all of it, once DONE."""

    NOTHING = "nothing"
    CANCEL = "cancel"
    RETRY = "retry"
    CANCEL_AND_RETRY = "cancel and retry"

    @property
    def cancels(self) -> bool:
        return self in (Wish.CANCEL, Wish.CANCEL_AND_RETRY)

    @property
    def retries(self) -> bool:
        return self in (Wish.RETRY, Wish.CANCEL_AND_RETRY)


@dataclass(frozen=True)
class Input:
    """One record to send. `seconds`: how long its handler takes."""

    picture: int
    by_url: bool
    act: Act = Act.PROVE
    seconds: float = 0.0


@dataclass(frozen=True)
class Expected:
    """The right result of a record: code of its `_status`, and its proof where the handler says it."""

    code: int
    proof: str


@dataclass(frozen=True)
class Work:
    """A batch to post. `number` is its own, and goes with it as a key that the broker stores and shows.

    second_thought: seconds after its acceptance when the wish is said.
    """

    number: int
    type: str
    endpoint: str
    inputs: tuple[Input, ...]
    webhook: bool
    wish: Wish = Wish.NOTHING
    second_thought: float = 0.0

    @property
    def salt(self) -> str:
        return f"salt {self.number}"

    @property
    def key(self) -> str:
        """Its Idempotency-Key."""
        return f"torture-{self.number}"

    @property
    def harmful(self) -> bool:
        return any(input.act.harms for input in self.inputs)

    def body(self, customer_url: str) -> dict[str, Any]:
        """The POST's JSON; pictures and webhook are on the customer's server."""
        records = [self._record(place, input, customer_url) for place, input in enumerate(self.inputs)]
        body = {
            "type": self.type,
            "endpoint": self.endpoint,
            "salt": self.salt,
            "number": self.number,
            "records": records,
        }
        endpoint = f"{customer_url}/hook/{self.number % ENDPOINTS}?batch={self.number}"
        hook = {"endpoint": endpoint, "headers": {"x-batch": str(self.number)}}
        return {**body, "webhook": hook} if self.webhook else body

    def expected(self) -> tuple[Expected, ...]:
        return tuple(self._expected(place, input) for place, input in enumerate(self.inputs))

    def record_id(self, place: int) -> str:
        return f"{self.number}-{place}"

    def _record(self, place: int, input: Input, customer_url: str) -> dict[str, Any]:
        if input.by_url:
            source = {"_url": f"{customer_url}/picture/{input.picture}"}
        else:
            source = {"_base64": base64.b64encode(picture(input.picture)).decode()}
        return {"_id": self.record_id(place), "act": input.act, "seconds": input.seconds, **source}

    def _expected(self, place: int, input: Input) -> Expected:
        code = {Act.PROVE: 200, Act.REFUSE: REFUSED, Act.DIE: 500, Act.OVERRUN: 504}[input.act]
        if input.act is Act.OVERRUN:
            return Expected(code, f"the record took longer than {TIME_LIMIT:g} s")
        return Expected(code, proof_of(self.type, self.endpoint, self.salt, place, picture(input.picture)))


def picture(number: int) -> bytes:
    """A picture's bytes; the handlers here look at them as bytes only."""
    return random.Random(f"picture {number}").randbytes(PICTURE_BYTES[number % 2])


def endless_works(seed: int, harmful_every: int) -> Iterator[Work]:
    """All kinds of batches, the same ones for the same seed; every `harmful_every`th kills or holds its process."""
    rng = random.Random(f"content {seed}")
    harms = cycle(HARMS)
    number = 0
    while True:
        number += 1
        harmful = number % harmful_every == harmful_every // 2
        inputs = [_input(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 5)))]
        type = rng.choices(TYPES, SHARES)[0]
        if harmful:
            type, act = next(harms)
            inputs.insert(rng.randrange(len(inputs) + 1), Input(rng.randrange(10_000), True, act, 0.2))
        yield Work(
            number=number,
            type=type,
            endpoint=rng.choice((PROVE, PROVE_AGAIN)),
            inputs=tuple(inputs),
            webhook=rng.random() < 0.9,
            wish=Wish.NOTHING if harmful else rng.choices(list(Wish), (85, 6, 6, 3))[0],
            second_thought=rng.choice((0.0, 0.05, 0.5, 2.0)),
        )


def _input(rng: random.Random) -> Input:
    seconds = round(rng.uniform(0.5, 2.5), 2) if rng.random() < 0.08 else 0.0
    act = Act.REFUSE if rng.random() < 0.1 else Act.PROVE
    return Input(rng.randrange(10_000), rng.random() < 0.5, act, seconds)


def slow_works(seconds: float) -> Iterator[Work]:
    """Batches of one record that takes `seconds` each."""
    for number in range(1, 1_000_000):
        yield Work(number, TYPES[0], PROVE, (Input(number, False, Act.PROVE, seconds),), webhook=True)
