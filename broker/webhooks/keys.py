"""The signing secrets of workspaces, decrypted, remembered for a few seconds."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from broker.secrets import Purpose, Vault
from broker.store.database import Database
from broker.store.workspaces import secrets_of

FRESH_SECONDS = 5.0


@dataclass(slots=True)
class SigningSecrets:
    """workspace -> its secrets, the newest first."""

    database: Database
    vault: Vault
    _known: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)

    async def of(self, workspace: str) -> tuple[str, ...]:
        """Raises Unavailable when the database is away."""
        until, secrets = self._known.get(workspace, (0.0, ()))
        if time.monotonic() < until:
            return secrets
        async with self.database.reading() as connection:
            box = await secrets_of(connection, workspace)
        secrets = open_secrets(self.vault, box) if box else ()
        self._known[workspace] = (time.monotonic() + FRESH_SECONDS, secrets)
        return secrets


def seal_secrets(vault: Vault, secrets: tuple[str, ...]) -> bytes:
    """The secrets as they are stored."""
    return vault.seal(Purpose.WEBHOOK_SECRETS, json.dumps(secrets).encode())


def open_secrets(vault: Vault, box: bytes) -> tuple[str, ...]:
    """The inverse of `seal_secrets`."""
    return tuple(json.loads(vault.open(Purpose.WEBHOOK_SECRETS, box)))
