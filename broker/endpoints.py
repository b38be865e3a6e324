"""Endpoints: where webhooks of a workspace go, how healthy they are, and the circuit breaker before them. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from broker.origins import origin_of
from broker.secrets import Purpose, Vault

FAILING_AFTER = 4
"""Failed tries in a row."""
DISABLED_AFTER_MS = 5 * 24 * 3600 * 1000
"""How long it has been failing."""
WINDOW_MS = 5 * 60 * 1000
LEAST_CALLS = 10
OPENS_AT = 0.7
"""The share of failed calls in the window, of at least LEAST_CALLS, that opens the breaker."""
OPEN_MS = 30_000
"""How long nothing is sent before one call may probe."""
REMEMBERED = 100

GONE = "it answered 410 Gone"
UNWANTED = "it asked for no more by the header webhook-delivery"
ONLY_FAILURES = "all tries of 5 days failed"


class Health(StrEnum):
    """How an endpoint stands. A disabled one is sent nothing until it is enabled again."""

    HEALTHY = "healthy"
    FAILING = "failing"
    DISABLED = "disabled"


class Call(StrEnum):
    """What one try says about the endpoint. DECLINED: it wants this one no more; GONE, UNWANTED: none at all."""

    ANSWERED = "answered"
    DECLINED = "declined"
    FAILED = "failed"
    GONE = "gone"
    UNWANTED = "unwanted"


class Breaker(StrEnum):
    """The circuit breaker. CLOSED: tries go through. OPEN: none does for now. HALF_OPEN: the next one probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Kind(StrEnum):
    """What is told about endpoints and their deliveries, to the operator and in the log."""

    FAILING = "endpoint.failing"
    RECOVERED = "endpoint.recovered"
    DISABLED = "endpoint.disabled"
    EXHAUSTED = "delivery.exhausted"
    REFUSED = "delivery.refused"


class Endpoint(Struct, frozen=True):
    """Where a webhook goes: one workspace's URL without its query.

    id: stands for workspace and URL and tells nobody either. origin: `origin_of` the URL. place: the URL without
    query as an encrypted box, since paths hold secrets too.
    """

    id: str
    workspace: str
    origin: str
    place: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the operator should know. at: ms since 1970; delivery, batch: of the try that brought it about."""

    kind: Kind
    at: int
    workspace: str
    endpoint: str
    origin: str
    reason: str | None
    failures: int
    delivery: str
    batch: str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """How an endpoint stands. Times in ms since 1970.

    since: of `state`. reason: why it is not healthy. failures, failing_since: the tries that failed since the last
    answer, and the first of them. recent: (when, failed) of the calls in the window, kept from the first failure on.
    open_until: the breaker is open; later one call may probe.
    """

    state: Health
    since: int
    reason: str | None = None
    failures: int = 0
    failing_since: int | None = None
    recent: tuple[tuple[int, bool], ...] = ()
    open_until: int | None = None

    @property
    def is_spotless(self) -> bool:
        """Nothing is known against it, so that one more answer says nothing new."""
        return self.state is Health.HEALTHY and not self.failures and not self.recent and self.open_until is None

    def breaker(self, now: int) -> Breaker:
        """How it stands at `now`; while a call probes, it is open again."""
        if self.open_until is None:
            return Breaker.CLOSED
        return Breaker.OPEN if self.open_until > now else Breaker.HALF_OPEN


def endpoint_of(vault: Vault, workspace: str, url: str) -> Endpoint:
    """Where a webhook of a workspace to this URL goes."""
    plain = without_query(url)
    place = vault.seal(Purpose.WEBHOOK_PLACE, plain.encode())
    return Endpoint(endpoint_id(workspace, plain), workspace, origin_of(plain), place)


def endpoint_id(workspace: str, url: str) -> str:
    """What deliveries of one workspace to one URL, whatever its query, have in common; tells nobody the URL.

    All spellings of an origin are one. The path counts as it is written.
    """
    place = f"{workspace}\n{origin_of(url)}{urlsplit(url).path or '/'}"
    return hashlib.sha256(place.encode()).hexdigest()[:32]


def without_query(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def after(condition: Condition, call: Call, now: int) -> Condition:
    """How an endpoint stands after one more try that ended at `now`. A disabled one stays so whatever comes in late."""
    if condition.state is Health.DISABLED:
        return condition
    if call is Call.ANSWERED:
        return _after_answer(condition, now)
    if call is Call.DECLINED:  # somebody is there, and that is all it says
        return condition if condition.open_until is None else replace(condition, recent=(), open_until=None)
    if call is not Call.FAILED:
        return _disabled(condition, GONE if call is Call.GONE else UNWANTED, now)
    failed = _after_failure(condition, now)
    if failed.state is Health.FAILING and now - failed.since >= DISABLED_AFTER_MS:
        return _disabled(failed, ONLY_FAILURES, now)
    return failed


def enabled(now: int) -> Condition:
    """How an endpoint stands at first, and after somebody has enabled it again."""
    return Condition(Health.HEALTHY, now)


def events(before: Condition, now: Condition) -> Iterator[Kind]:
    """What is to be told of a change."""
    if now.state is before.state:
        return
    if now.state is Health.FAILING:
        yield Kind.FAILING
    elif now.state is Health.DISABLED:
        yield Kind.DISABLED
    elif before.state is Health.FAILING:
        yield Kind.RECOVERED


def _after_answer(condition: Condition, now: int) -> Condition:
    """The breaker closes, and what opened it is forgotten."""
    recent = _recent(condition, now, failed=False) if condition.recent and condition.open_until is None else ()
    if condition.state is Health.HEALTHY:
        return Condition(Health.HEALTHY, condition.since, recent=recent)
    return Condition(Health.HEALTHY, now, recent=recent)


def _after_failure(condition: Condition, now: int) -> Condition:
    recent = _recent(condition, now, failed=True)
    opens = condition.open_until is not None or _trips(recent)
    failed = replace(
        condition,
        failures=condition.failures + 1,
        failing_since=condition.failing_since or now,
        recent=recent,
        open_until=now + OPEN_MS if opens else None,
    )
    if failed.state is Health.HEALTHY and failed.failures >= FAILING_AFTER:
        return replace(failed, state=Health.FAILING, since=now, reason=f"{failed.failures} tries in a row failed")
    return failed


def _disabled(condition: Condition, reason: str, now: int) -> Condition:
    return replace(condition, state=Health.DISABLED, since=now, reason=reason, recent=(), open_until=None)


def _recent(condition: Condition, now: int, *, failed: bool) -> tuple[tuple[int, bool], ...]:
    """The calls of the window; none while there is no failure among them."""
    calls = (*(call for call in condition.recent if call[0] > now - WINDOW_MS), (now, failed))[-REMEMBERED:]
    return calls if any(failed for _, failed in calls) else ()


def _trips(recent: tuple[tuple[int, bool], ...]) -> bool:
    failures = sum(failed for _, failed in recent)
    return len(recent) >= LEAST_CALLS and failures >= OPENS_AT * len(recent)
