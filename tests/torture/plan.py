"""Which fault comes when: the same seed gives the same sequence of faults, targets and times."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from broker.webhooks.send import LEASE_MARGIN

LEASE_SECONDS = 2.0
WEBHOOK_TIMEOUT = 1.5
DELIVERY_LEASE_SECONDS = WEBHOOK_TIMEOUT + LEASE_MARGIN


class Kind(StrEnum):
    """A fault, as the table names it."""

    WORKER_KILLED = "kill -9 of a worker"
    WORKER_STOPPED = "SIGSTOP of a worker for two leases"
    WORKER_FROZEN = "SIGSTOP of a worker for longer than a delivery's lease"
    WEB_KILLED = "kill -9 of web"
    VALKEY_KILLED = "kill -9 of Valkey"
    VALKEY_EMPTIED = "FLUSHALL"
    VALKEY_CUT = "CLIENT KILL of all"
    ROLLING_RESTART = "SIGTERM rolling restart"
    DISK_FULL = "full disk"
    DATABASE_STOPPED = "PostgreSQL restart"
    DATABASE_CRASHED = "PostgreSQL crash"
    DATABASE_CUT = "PostgreSQL backends killed"
    DATABASE_LOCKED = "SQLite file locked"


OF_DATABASE = {
    "sqlite": (Kind.DATABASE_LOCKED,),
    "postgresql": (Kind.DATABASE_STOPPED, Kind.DATABASE_CRASHED, Kind.DATABASE_CUT),
}
AWAY = {"sqlite": (*OF_DATABASE["sqlite"], Kind.DISK_FULL), "postgresql": OF_DATABASE["postgresql"]}
"""What keeps a database from taking writes; the disk that is full is that of the broker's processes."""
COMMON = tuple(kind for kind in Kind if not kind.name.startswith("DATABASE_"))
LASTS: dict[Kind, tuple[float, float]] = {
    Kind.WORKER_KILLED: (0.0, 3.0),
    Kind.WORKER_STOPPED: (2 * LEASE_SECONDS, 2 * LEASE_SECONDS),
    Kind.WORKER_FROZEN: (DELIVERY_LEASE_SECONDS + 0.5, DELIVERY_LEASE_SECONDS + 2.5),
    Kind.WEB_KILLED: (0.0, 2.0),
    Kind.VALKEY_KILLED: (0.5, 3.0),
    Kind.DISK_FULL: (1.0, 3.0),
    Kind.DATABASE_STOPPED: (0.0, 2.0),
    Kind.DATABASE_CRASHED: (0.0, 2.0),
    Kind.DATABASE_LOCKED: (1.0, 7.0),
}
"""Least and most seconds until it is mended; others are over at once."""
SHORT_SEED, SHORT_SECONDS = 78, 30.0
"""A run that has every kind of fault on one database or the other, while there is load."""
PAUSES = (1.5, 6.5)
"""Least and most seconds from one fault to the next: between them, most of the fleet is up for a moment."""


@dataclass(frozen=True)
class Fault:
    """A fault to come `at` seconds after the start and to be mended after `lasts`. target: the number of a process."""

    at: float
    kind: Kind
    target: int = 0
    lasts: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.kind} #{self.target} for {self.lasts:.1f} s"


def random_plan(seed: int, seconds: float, database: str) -> tuple[Fault, ...]:
    """Faults until `seconds`. Kinds come from a shuffled deck: each has come before one comes again."""
    kinds = sorted((*COMMON, *OF_DATABASE[database]))
    rng = random.Random(f"faults {seed}")
    deck: list[Kind] = []
    faults: list[Fault] = []
    at = 1.0
    while (at := at + rng.uniform(*PAUSES)) < seconds:
        deck = deck or rng.sample(kinds, len(kinds))
        kind = deck.pop()
        lasts = rng.uniform(*LASTS.get(kind, (0.0, 0.0)))
        faults.append(Fault(round(at, 2), kind, rng.randrange(6), round(lasts, 2)))
    return tuple(faults)
