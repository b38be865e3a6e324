"""How tokens are looked up: remembered for a few seconds, and asked for anew by one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import event
from starlette.requests import Request

from broker.api.auth import FRESH_SECONDS, RENEW_SECONDS, Authenticator
from broker.batches import new_id
from broker.errors import Unauthenticated
from broker.secrets import token_hash
from broker.store.database import Database
from broker.store.workspaces import NewToken, insert_tokens, revoke_tokens

TOKEN = "a" * 40


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def token_id(database: Database, workspace_id: str) -> str:
    token = NewToken(new_id(), workspace_id, "name", token_hash(TOKEN), "aaaa", frozenset({"submit"}))
    await database.writer.write(insert_tokens, token)
    return token.id


@contextmanager
def looks(database: Database) -> Iterator[list[str]]:
    """The statements by which tokens are looked up."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "FROM tokens" in statement:
            seen.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


def request() -> Request:
    return Request({"type": "http", "headers": [(b"authorization", f"Token {TOKEN}".encode())]})


async def test_of_many_requests_whose_answer_grows_old_one_asks_anew(database: Database, token_id: str) -> None:
    clock = Clock()
    authenticator = Authenticator(database, clock)
    await authenticator.caller(request(), "submit")
    with looks(database) as seen:
        clock.now += RENEW_SECONDS - 0.1
        await authenticator.caller(request(), "submit")
        assert len(seen) == 0
        clock.now += 0.2
        tokens = await asyncio.gather(*(authenticator.caller(request(), "submit") for _ in range(20)))
        assert {token.id for token in tokens} == {token_id}
        assert len(seen) == 1
        clock.now += RENEW_SECONDS - 0.1
        await authenticator.caller(request(), "submit")
        assert len(seen) == 1


async def test_an_answer_counts_no_longer_though_nobody_could_ask_anew(database: Database, token_id: str) -> None:
    clock = Clock()
    authenticator = Authenticator(database, clock)
    await authenticator.caller(request(), "submit")
    await database.writer.write(revoke_tokens, token_id)
    clock.now += RENEW_SECONDS + 0.1
    renewing = asyncio.ensure_future(authenticator.caller(request(), "submit"))
    await asyncio.sleep(0)
    await authenticator.caller(request(), "submit")  # the old answer, while one asks
    renewing.cancel()
    clock.now += FRESH_SECONDS - RENEW_SECONDS
    with pytest.raises(Unauthenticated):
        await authenticator.caller(request(), "submit")
