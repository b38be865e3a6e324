"""Webhooks that are owed: their states, the retry schedule, what an answer means, which headers are legal. No I/O."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

EVENT_DONE = "batch.done"
MAX_HEADERS = 50
MAX_HEADER_BYTES = 4096
JITTER = 0.2

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE = re.compile(r"[\x20-\x7e\t]*")
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

    EXHAUSTED: the schedule is over. REFUSED: the address is not allowed. STOPPED: the receiver wants no more.
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


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A webhook to be owed from the moment its batch is DONE. `target` is an encrypted box; `body` the exact bytes.

    endpoint: what `endpoint_of` made of workspace and URL.
    """

    id: str
    batch: str
    workspace: str
    run: int
    event: str
    endpoint: str
    target: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that this process has claimed for one try.

    attempt: number of this try, from 1; step: its place in the schedule, from 1. hurried: the instant retry is used up.
    """

    id: str
    batch: str
    workspace: str
    target: bytes
    body: bytes
    lease_seq: int
    attempt: int
    step: int
    hurried: bool


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What one try brought: an HTTP status or a short public error, and the pause before the next, if there is one.

    hurry: the next try is the instant retry, which does not count against the schedule.
    """

    delivery: str
    lease_seq: int
    attempt: int
    state: State
    status_code: int | None
    error: str | None
    response: str
    duration_ms: int
    pause_ms: int
    hurry: bool = False


def verdict(status_code: int) -> Verdict:
    """Judge an answer by its status alone: 2xx is done, 410 is never again, everything else (3xx too) is later."""
    if 200 <= status_code < 300:
        return Verdict.DONE
    return Verdict.NEVER if status_code == 410 else Verdict.LATER


def endpoint_of(workspace: str, url: str) -> str:
    """What deliveries of one workspace to one URL, whatever its query, have in common; tells nobody the URL."""
    parts = urlsplit(url)
    place = f"{workspace}\n{parts.scheme}://{parts.netloc}{parts.path}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def pause_before(step: int, schedule: Sequence[float], spread: random.Random) -> float | None:
    """Seconds before the schedule's try number `step` (from 1), with jitter; None when it has no such try."""
    if step > len(schedule):
        return None
    return schedule[step - 1] * spread.uniform(1 - JITTER, 1 + JITTER)


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
    return problems


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
