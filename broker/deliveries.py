"""Webhooks that are owed: where they go, states, the retry schedule, what an answer means, legal headers. No I/O."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.json import Decoder
from pydantic_core import to_json

from broker.batches import Webhook
from broker.endpoints import Call, Endpoint, Kind
from broker.errors import Invalid
from broker.secrets import Purpose, Vault

EVENT_DONE = "batch.done"
EVENTS = (EVENT_DONE, *Kind)
"""All that deliveries tell of."""
MAX_HEADERS = 50
MAX_HEADER_BYTES = 4096
MAX_HEADERS_BYTES = 16_384
"""Of the names and values of all headers of a webhook together."""
JITTER = 0.2
DRAIN_MARGIN = 1.0
"""Seconds beyond a try's time for which a stopping sender waits: one that takes all of it ends by itself, noted."""
DRAIN_SECONDS = 5.0
"""What tries under way get when a worker stops, so that grace and drain fit the 30 s that platforms give; more only
while the database keeps the worker from recording what they brought."""
LEAST_PAUSE = 60.0
"""Seconds that pass after a 429 or a timeout."""
BUSY = frozenset({429, 502, 503, 504})
"""Answers of a receiver that has too much to do: fewer go there at once, and it may say when to come again."""
UNSENT_PAUSE = 5.0
MOST_DOUBLINGS = 6

_NO_MORE = frozenset({"abort-message", "disable"})
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_DATE = re.compile(
    r"([A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4}|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2}|([A-Z][a-z]{2} ){2}[ \d]\d)"
    r" \d{2}:\d{2}:\d{2} (GMT|UTC|[+-]\d{4}|\d{4})",
    re.ASCII,
)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE = re.compile(r"[\x20-\x7e\t]*")
_TARGET = Decoder(Webhook)
_FORBIDDEN_NAMES = frozenset(
    "host content-length content-type content-encoding content-language content-location transfer-encoding "
    "connection keep-alive te trailer trailers upgrade expect user-agent accept-encoding date age cache-control "
    "expires pragma warning forwarded via x-real-ip".split()
)
_FORBIDDEN_PREFIXES = (
    *("proxy-", "webhook-", "broker-", "x-broker-", "x-forwarded-"),
    *("x-amz-", "x-amzn-", "x-google", "x-goog-", "x-gfe", "x-azure-", "x-fd-"),
)


class State(StrEnum):
    """Where a delivery stands. Only PENDING ones are ever sent again by themselves.

    EXHAUSTED: the schedule is over. REFUSED: the address is not allowed. SUPERSEDED: its batch was run again before it
    arrived. STOPPED: the receiver wants no more, or its endpoint was disabled.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"


class Verdict(StrEnum):
    """What one try means for the delivery."""

    DONE = "done"
    LATER = "later"
    NEVER = "never"


class NewDelivery(Struct, frozen=True):
    """A webhook to be owed from the moment its batch is DONE. `target` is an encrypted box; `body` the exact bytes.

    batch: None for what is told to the service's operator. claim_ms: its first try is claimed by its birth, for so
    long, by who owes it; None where it is due for whoever claims it.
    """

    id: str
    batch: str | None
    workspace: str
    run: int
    event: str
    endpoint: Endpoint
    target: bytes
    body: bytes
    claim_ms: int | None = None

    def first_try(self) -> DueDelivery:
        """As it stands where its birth has claimed it."""
        return DueDelivery(
            id=self.id,
            batch=self.batch,
            workspace=self.workspace,
            endpoint=self.endpoint.id,
            origin=self.endpoint.origin,
            target=self.target,
            body=self.body,
            lease_seq=1,
            attempt=1,
            step=1,
            hurried=False,
            manual=False,
            state=State.PENDING,
        )


class DueDelivery(Struct, frozen=True):
    """A delivery that this process has claimed for one try.

    attempt: number of this try, from 1; step: its place in the schedule, from 1. hurried: the instant retry is used up.
    manual: a person asked for this try, so it takes no place in the schedule; `step` is the last one's, `state` stays
    what it is unless the try succeeds.
    """

    id: str
    batch: str | None
    workspace: str
    endpoint: str
    origin: str
    target: bytes
    body: bytes
    lease_seq: int
    attempt: int
    step: int
    hurried: bool
    manual: bool
    state: State


class AttemptResult(Struct, frozen=True):
    """What one try brought: an HTTP status or a short public error, and the pause before the next, if there is one.

    call: what it says about the endpoint, None for nothing. hurry: the next try is the instant retry, which does not
    count against the schedule. unsent: nor does this one, since nothing was free on our side to send it. was: the state
    before; origin: as the delivery's. response: the first bytes of the answer, in a box.
    """

    delivery: str
    endpoint: str
    lease_seq: int
    attempt: int
    state: State
    status_code: int | None
    error: str | None
    response: bytes
    duration_ms: int
    pause_ms: int
    call: Call | None = None
    hurry: bool = False
    unsent: bool = False
    was: State = State.PENDING
    origin: str = ""


def drain_seconds(timeout: float) -> float:
    """How long a worker that stops waits for tries that may take `timeout` seconds each."""
    return min(timeout + DRAIN_MARGIN, DRAIN_SECONDS)


def seal_target(vault: Vault, webhook: Webhook) -> bytes:
    """Where a delivery goes, as it is stored: URL and headers may both hold the customer's secrets."""
    target = {"url": webhook.url, "headers": dict(webhook.headers)}
    return vault.seal(Purpose.WEBHOOK_TARGET, to_json(target))


def open_target(vault: Vault, box: bytes) -> Webhook:
    """The inverse of `seal_target`."""
    return _TARGET.decode(vault.open(Purpose.WEBHOOK_TARGET, box))


def verdict(status_code: int, wish: str = "") -> Verdict:
    """Judge an answer: 2xx is done, 410 is never again, everything else (3xx too) is later.

    wish: its header `webhook-delivery`, by which a receiver that refuses a message can ask for no more tries of it
    (`abort-message`) or of any (`disable`), as Svix has it.
    """
    if 200 <= status_code < 300:
        return Verdict.DONE
    return Verdict.NEVER if status_code == 410 or _wishes(wish) & _NO_MORE else Verdict.LATER


def call_of(status_code: int | None, wish: str = "") -> Call:
    """What a try says about its endpoint.

    status_code None: nobody answered. wish: as for `verdict`; who takes this message may want no other, as with Svix.
    """
    if status_code is None:
        return Call.FAILED
    wishes = _wishes(wish)
    if status_code == 410:
        return Call.GONE
    if "disable" in wishes:
        return Call.UNWANTED
    if 200 <= status_code < 300:
        return Call.ANSWERED
    return Call.DECLINED if wishes & _NO_MORE else Call.FAILED


def _wishes(wish: str) -> set[str]:
    return {word.strip().lower() for word in wish.split(",")}


@dataclass(frozen=True, slots=True)
class Slowdown:
    """What an answer does to the pause after it: it lasts `least` seconds, or what the receiver `asked` for."""

    least: float = 0.0
    asked: float | None = None


def slowdown(status_code: int, retry_after: str, now: float) -> Slowdown:
    """429 waits at least a minute; all that are BUSY may say how long in `Retry-After`. now: seconds since 1970."""
    if status_code not in BUSY:
        return Slowdown()
    return Slowdown(LEAST_PAUSE if status_code == 429 else 0.0, parse_retry_after(retry_after, now))


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds from `now` on, from seconds or an HTTP date (RFC 9110 10.2.3); None for anything else."""
    if _SECONDS.fullmatch(value):
        return float(value)
    if not _DATE.fullmatch(value):  # the parser below takes a date from nearly anything
        return None
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)


def pause_before(
    step: int, schedule: Sequence[float], spread: random.Random, slow: Slowdown | None = None
) -> float | None:
    """Seconds before the schedule's try number `step` (from 1), with jitter; None when it has no such try.

    `slow.least` counts up to the longest pause of the schedule, which may be in a hurry. What a receiver asks for
    counts between what comes of that and twice as much.
    """
    if step > len(schedule):
        return None
    slow = slow or Slowdown()
    pause = max(schedule[step - 1] * spread.uniform(1 - JITTER, 1 + JITTER), min(slow.least, max(schedule)))
    return pause if slow.asked is None else min(max(slow.asked, pause), 2 * pause)


def pause_when_unsent(free: int, spread: random.Random) -> float:
    """Seconds before a step is taken again, after so many tries that took none: 5, doubled up to 320, with jitter."""
    return UNSENT_PAUSE * 2.0 ** min(free, MOST_DOUBLINGS) * spread.uniform(1 - JITTER, 1 + JITTER)


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Name -> why a customer may not set it. Empty when all may be sent. Rules: RFC 9110 5.1, 5.5 and our own list."""
    problems: dict[str, str] = {}
    if len(headers) > MAX_HEADERS:
        return {"": f"At most {MAX_HEADERS} headers are allowed."}
    seen: set[str] = set()
    for name, value in headers.items():
        problem = _problem(name, value)
        if name.lower() in seen:
            problem = "This header is given twice."
        seen.add(name.lower())
        if problem:
            problems[name] = problem
    if not problems and sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADERS_BYTES:
        return {"": f"Their names and values together are longer than {MAX_HEADERS_BYTES} bytes."}
    return problems


def require_headers(headers: Mapping[str, str]) -> None:
    """Raises Invalid, whose field `headers` names each that a customer may not set."""
    if problems := check_headers(headers):
        named = {name: [text] for name, text in problems.items() if name}
        raise Invalid(fields={"headers": named or list(problems.values())})


def _problem(name: str, value: str) -> str | None:
    lowered = name.strip().lower()
    if lowered in _FORBIDDEN_NAMES or lowered.startswith(_FORBIDDEN_PREFIXES):
        return "This header is set by the broker and cannot be changed."
    if not _TOKEN.fullmatch(name):
        return "This is not a valid header name."
    if len(value) > MAX_HEADER_BYTES:
        return f"The value is longer than {MAX_HEADER_BYTES} bytes."
    if not _VISIBLE.fullmatch(value) or value != value.strip():
        return "The value may hold only visible ASCII characters, inner spaces and tabs."
    return None
