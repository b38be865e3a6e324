"""Who is calling: `Authorization: Token|Bearer|JWT <token>` -> a caller with its rights and workspaces."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request

from broker.errors import Forbidden, Unauthenticated
from broker.secrets import token_hash
from broker.store.database import Database
from broker.store.workspaces import Token, token_by_hash

FRESH_SECONDS = 5.0
RENEW_SECONDS = 4.0
MAX_REMEMBERED = 10_000
SCHEMES = frozenset({"token", "bearer", "jwt"})


@dataclass(slots=True)
class _Known:
    """What the database said of a token, and when it was asked, by the authenticator's clock."""

    token: Token | None
    asked: float
    renewing: bool = False


@dataclass(slots=True)
class Authenticator:
    """Looks tokens up by their hash; an answer, good or bad, is remembered for FRESH_SECONDS.

    In the last of them one request asks anew while the others go by the old answer, or all would ask at once.
    """

    database: Database
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, _Known] = field(default_factory=dict)

    async def caller(self, request: Request, scope: str) -> Token:
        """The token of a request that may do `scope`. Raises Unauthenticated, Forbidden."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in SCHEMES or not secret.strip():
            raise Unauthenticated()
        token = await self._token(token_hash(secret.strip()))
        if token is None:
            raise Unauthenticated("Invalid token.")
        if scope not in token.scopes:
            raise Forbidden.without(scope)
        return token

    async def _token(self, hash: str) -> Token | None:
        now = self.clock()
        known = self._known.get(hash)
        if known is not None:
            if now < known.asked + (FRESH_SECONDS if known.renewing else RENEW_SECONDS):
                return known.token
            known.renewing = True
        async with self.database.reading() as connection:
            token = await token_by_hash(connection, hash)
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[hash] = _Known(token, now)
        return token


async def caller(request: Request, scope: str) -> Token:
    """The token of a request that may do `scope`. Raises Unauthenticated, Forbidden."""
    authenticator: Authenticator = request.app.state.authenticator
    return await authenticator.caller(request, scope)


def workspace_of(token: Token, asked: str | None) -> str:
    """The workspace to act in: the one asked for, or the token's home. Raises Forbidden for one not granted."""
    if asked is None:
        return token.workspaces[0]
    if asked.lower() not in token.workspaces:
        raise Forbidden("You are not allowed to access this workspace.")
    return asked.lower()


def workspaces_seen(token: Token, asked: str | None) -> tuple[str, ...]:
    """The workspaces in which an id is looked for: the one asked for, or all that the token may use."""
    return token.workspaces if asked is None else (workspace_of(token, asked),)
