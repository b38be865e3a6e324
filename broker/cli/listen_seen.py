"""What can be said of a webhook by its headers and bytes: whose it is, and whether it came before."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from broker.secrets import PUBLIC_PREFIX, SECRET_PREFIX
from broker.webhooks.signing import verify

REMEMBERED = 10_000
SIGNED_BY = ("webhook-id", "webhook-timestamp", "webhook-signature")
_ANY_SIGNATURE = dict(zip(SIGNED_BY, ("id", "0", "v1,AAAA v1a,AAAA"), strict=True))


class Signature(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it came; header names in lower case. `at` in seconds since 1970."""

    at: float
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def webhook_id(self) -> str:
        return self.headers.get("webhook-id", "")


@dataclass(frozen=True, slots=True)
class Judge:
    """Verifies by any of the secrets."""

    secrets: Sequence[str]

    def check(self) -> None:
        """Raises ValueError when one of the secrets is none, or has nothing before it to tell what it is."""
        for secret in self.secrets:
            if not secret.startswith((SECRET_PREFIX, PUBLIC_PREFIX)):
                raise ValueError("neither a shared secret nor a public key")
            verify([secret], _ANY_SIGNATURE, b"", 0)

    def judge(self, arrival: Arrival) -> tuple[Signature, str]:
        """The signature, and if it is wrong, why."""
        if not self.secrets:
            return Signature.NOT_CHECKED, ""
        if missing := [name for name in SIGNED_BY if not arrival.headers.get(name)]:
            return Signature.WRONG, f"without {', '.join(missing)}"
        if verify(self.secrets, arrival.headers, arrival.body, arrival.at):
            return Signature.RIGHT, ""
        timestamp = arrival.headers["webhook-timestamp"]
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
            return Signature.WRONG, "webhook-timestamp is no number"
        if verify(self.secrets, arrival.headers, arrival.body, int(timestamp)):
            return Signature.WRONG, f"made {arrival.at - int(timestamp):.0f} s ago; 300 s either way are allowed"
        return Signature.WRONG, "of other bytes or by another secret"


@dataclass(slots=True)
class Memory:
    """Which ids came before; of the newest REMEMBERED."""

    _seen: OrderedDict[str, tuple[int, bytes]] = field(default_factory=OrderedDict)

    def repetition(self, id: str, body: bytes) -> str:
        """Empty for the first of its id, and for one without."""
        if not id:
            return ""
        digest = hashlib.sha256(body).digest()
        times, before = self._seen.pop(id, (0, digest))
        self._seen[id] = (times + 1, digest)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if times == 0:
            return ""
        told = f"repetition, number {times + 1} of this id"
        return told if digest == before else f"{told}, WITH OTHER BYTES"
