"""`/healthz`: the process lives. `/readyz`: what it stands on, each part named.

Redis down or a full disk is degraded, not unready: everything else is still served, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.admission import Admission
from broker.api.http import resource
from broker.bootstrap.web import Web
from broker.errors import Unavailable
from broker.store.chores import Turn, take_turn
from broker.store.database import Database

SECONDS = 3.0
KEEP_SECONDS = 1.0


def routes() -> list[Route]:
    return [*resource("/healthz", {"GET": healthz}), *resource("/readyz", {"GET": readyz})]


async def healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """200 when requests can be served, be it slower or, while the disk is full, POSTs with a 503 each; 503 when not."""
    probe: Probe = request.app.state.probe
    standing = await probe()
    return JSONResponse({"status": standing.status, "checks": standing.checks}, 503 if standing.unready else 200)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a process stands on: each part `ok`, or why not."""

    status: str
    checks: Mapping[str, str]

    @property
    def unready(self) -> bool:
        return self.status == "unready"


class Probe:
    """Looks at the parts at most once in KEEP_SECONDS and once at a time, however many ask: a look is a write."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._look: asyncio.Task[Standing] | None = None
        self._since = 0.0

    async def __call__(self) -> Standing:
        now = asyncio.get_running_loop().time()
        if self._look is None or (self._look.done() and now - self._since >= KEEP_SECONDS):
            self._look, self._since = asyncio.create_task(_look(self._web), name="readiness"), now
        return await asyncio.shield(self._look)  # who goes away takes it from no other


async def _look(web: Web) -> Standing:
    core = web.core
    database, blobs, redis = await asyncio.gather(
        _reason(_read_and_write(core.database)), _reason(core.blobs.ping()), core.nudger.ping()
    )
    ready = database is None and blobs is None
    disk = _disk(web.accept.admission)
    status = "unready" if not ready else "degraded" if redis or disk else "ready"
    checks = {
        "database": database or "ok",
        "blobs": blobs or "ok",
        "disk": disk or "ok",
        "redis": _redis(core.settings.redis_url, redis),
    }
    return Standing(status, checks)


async def _read_and_write(database: Database) -> None:
    """Raises Unavailable for a database that a lock or a full disk keeps from writing, too. Writes once a second."""
    await database.ping()
    await database.writer.write(take_turn, Turn("readiness", 1000))


def _disk(admission: Admission) -> str | None:
    try:
        return "less is free than BROKER_MIN_FREE_BYTES; no batch is accepted" if admission.is_short_of_disk() else None
    except Unavailable as error:
        return f"does not answer ({type(error.__cause__).__name__})"


def _redis(url: str, reason: str | None) -> str:
    if not url:
        return "not configured; workers look into SQL once a second"
    return reason or "ok"


async def _reason(ping: Awaitable[None]) -> str | None:
    """Why a part is not there; None when it answers."""
    limit = asyncio.timeout(SECONDS)
    try:
        async with limit:
            await ping
    except Exception as error:
        if limit.expired():
            return f"no answer within {SECONDS:g} s"
        return f"does not answer ({type(error.__cause__ or error).__name__})"
    return None
