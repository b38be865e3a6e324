"""Replacing a workspace's signing secret, without a webhook that its receivers cannot verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.errors import NotFound
from broker.secrets import Vault, new_webhook_key_pair, new_webhook_secret
from broker.store.database import Database
from broker.store.workspaces import Replacement, StoredSecrets, replace_secrets, secrets_of
from broker.webhooks.keys import SigningSecret, in_force, open_secrets, rotated, seal_secrets
from broker.webhooks.signing import Kind

_NEW: Mapping[Kind, Callable[[], str]] = {Kind.SYMMETRIC: new_webhook_secret, Kind.ED25519: new_webhook_key_pair}


@dataclass(frozen=True, slots=True)
class Rotate:
    """The use case. Workspaces by their ids."""

    database: Database
    vault: Vault

    async def __call__(self, workspace: str, kind: Kind) -> tuple[SigningSecret, ...]:
        """Sign with a new secret; the old ones sign along for 24 hours. All in force, the newest first.

        Raises NotFound, Unavailable.
        """
        new = _NEW[kind]()
        while True:
            stored = await self._stored(workspace)
            secrets = rotated(open_secrets(self.vault, stored.box), new, stored.now)
            change = Replacement(workspace, known=stored.box, box=seal_secrets(self.vault, secrets))
            # Another rotation may have come between; then its secret must sign along, so look again.
            if await self.database.writer.write(replace_secrets, change):
                return secrets

    async def secrets(self, workspace: str) -> tuple[SigningSecret, ...]:
        """Those in force, the newest first. Raises NotFound, Unavailable."""
        stored = await self._stored(workspace)
        return in_force(open_secrets(self.vault, stored.box), stored.now)

    async def _stored(self, workspace: str) -> StoredSecrets:
        async with self.database.reading() as connection:
            stored = await secrets_of(connection, workspace)
        if stored is None:
            raise NotFound("there is no such workspace")
        return stored
