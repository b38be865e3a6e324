"""The signing secrets of workspaces: how they are rotated, stored encrypted, and remembered for a few seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from broker.secrets import Purpose, Vault
from broker.store.database import Database
from broker.store.workspaces import secrets_of
from broker.webhooks.signing import Kind, kind_of

FRESH_SECONDS = 5.0
GRACE_MS = 24 * 3600 * 1000
"""How long a secret signs along after it was replaced, so that receivers can change over."""

MAX_OLD = 10


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """`secret` as Standard Webhooks shows it. until: ms since 1970; None for the newest, which signs until replaced."""

    secret: str
    until: int | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.secret)


def in_force(secrets: Sequence[SigningSecret], now: int) -> tuple[SigningSecret, ...]:
    """Those that sign at `now`, in ms since 1970."""
    return tuple(one for one in secrets if one.until is None or one.until > now)


def rotated(secrets: Sequence[SigningSecret], new: str, now: int) -> tuple[SigningSecret, ...]:
    """The new secret, made at `now`, then those in force until now: the ten latest sign along, each its own day."""
    old = [replace(one, until=now + GRACE_MS) if one.until is None else one for one in in_force(secrets, now)]
    return (SigningSecret(new), *old[:MAX_OLD])


def seal_secrets(vault: Vault, secrets: Sequence[SigningSecret]) -> bytes:
    """The secrets as they are stored."""
    plain = [{"secret": one.secret, "until": one.until} for one in secrets]
    return vault.seal(Purpose.WEBHOOK_SECRETS, json.dumps(plain).encode())


def open_secrets(vault: Vault, box: bytes) -> tuple[SigningSecret, ...]:
    """The inverse of `seal_secrets`."""
    plain = json.loads(vault.open(Purpose.WEBHOOK_SECRETS, box))
    return tuple(SigningSecret(one["secret"], one["until"]) for one in plain)


@dataclass(frozen=True, slots=True)
class _Known:
    """Secrets that were looked up when the database's clock said `now` (ms) and this process's `since` (s)."""

    secrets: tuple[SigningSecret, ...]
    now: int
    since: float


@dataclass(slots=True)
class SigningSecrets:
    """workspace -> its secrets, the newest first."""

    database: Database
    vault: Vault
    _known: dict[str, _Known] = field(default_factory=dict)

    async def of(self, workspace: str) -> tuple[str, ...]:
        """Those in force. Raises Unavailable when the database is away."""
        known = self._known.get(workspace)
        if known is None or time.monotonic() - known.since >= FRESH_SECONDS:
            known = self._known[workspace] = await self._look_up(workspace)
        now = known.now + int((time.monotonic() - known.since) * 1000)
        return tuple(one.secret for one in in_force(known.secrets, now))

    async def _look_up(self, workspace: str) -> _Known:
        since = time.monotonic()
        async with self.database.reading() as connection:
            found = await secrets_of(connection, workspace)
        return _Known(open_secrets(self.vault, found.box), found.now, since) if found else _Known((), 0, since)
