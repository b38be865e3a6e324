"""Making workspaces and tokens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from broker.batches import new_id
from broker.errors import Conflict, Misconfigured, NotFound
from broker.rotate import Rotate
from broker.secrets import Vault, new_token, new_webhook_secret, token_hash
from broker.store.database import Database
from broker.store.workspaces import (
    NewToken,
    NewWorkspace,
    Workspace,
    insert_tokens,
    insert_workspaces,
    remember_facts,
    workspace_called,
)
from broker.webhooks.keys import SigningSecret, seal_secrets
from broker.webhooks.signing import verifier_of

OPERATOR = "operator"
"""The name of the workspace that owns the operator's webhooks, which only the service itself makes."""
SCOPES = ("submit", "read", "storage", "admin")
_OPERATOR_FACT = "operator_workspace"


@dataclass(frozen=True, slots=True)
class Provision:
    """The use case, for the operator's commands."""

    database: Database
    vault: Vault

    @property
    def rotate(self) -> Rotate:
        return Rotate(self.database, self.vault)

    async def workspace(self, name: str) -> Workspace:
        """Make a workspace with a signing secret of its own. Raises Conflict when the name is taken or reserved."""
        if name == OPERATOR:
            raise Conflict(f"the name {name!r} is reserved for the service's own workspace")
        if not await self._insert(new_id(), name):
            raise Conflict(f"there is a workspace {name!r} already")
        return await self.find(name)

    async def operator(self) -> Workspace:
        """The operator's workspace, made if need be. Raises Misconfigured where somebody else has made one so named."""
        id = await self.database.writer.write(remember_facts, (_OPERATOR_FACT, new_id()))
        await self._insert(id, OPERATOR)
        found = await self.find(OPERATOR)
        if found.id != id:
            raise Misconfigured(
                f"the workspace {OPERATOR!r} was not made by this service, which would sign the operator's webhooks "
                "with its secret; unset BROKER_OPERATOR_WEBHOOK, or give that workspace another name in the database"
            )
        return found

    async def _insert(self, id: str, name: str) -> bool:
        secrets = seal_secrets(self.vault, [SigningSecret(new_webhook_secret())])
        return await self.database.writer.write(insert_workspaces, NewWorkspace(id, name, secrets))

    async def find(self, word: str) -> Workspace:
        """The workspace of this name, else of this id. Raises NotFound."""
        async with self.database.reading() as connection:
            found = await workspace_called(connection, word)
        if found is None:
            raise NotFound(f"there is no workspace {word!r}")
        return found

    async def token(self, workspace: str, name: str, scopes: Collection[str], grants: Collection[str] = ()) -> str:
        """Make a token whose home is the workspace of this name or id; returns it, for the only time."""
        home = await self.find(workspace)
        others = [(await self.find(other)).id for other in grants]
        token = new_token()
        row = NewToken(
            id=new_id(),
            workspace=home.id,
            name=name,
            hash=token_hash(token),
            hint=token[-4:],
            scopes=frozenset(scopes),
            grants=tuple(others),
        )
        await self.database.writer.write(insert_tokens, row)
        return token

    async def webhook_secrets(self, workspace: str) -> tuple[str, ...]:
        """What receivers verify webhooks of the workspace of this name or id with, the newest first."""
        found = await self.find(workspace)
        secrets = await self.rotate.secrets(found.id)
        return tuple(verifier_of(one.secret) for one in secrets)
