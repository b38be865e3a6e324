"""Its worker: runs a batch, stores the result, sends the signed webhook, notes that. `python -m bench.diy.worker`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging.config
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import uvloop
from arq import Retry, Worker
from arq.connections import RedisSettings
from arq.logs import default_log_config

from bench.diy.store import connect

AT_ONCE = 32
TRIES = 8
_LOOK = "SELECT type, records, webhook, results FROM batches WHERE id = ?"
PAUSE = 5


async def startup(ctx: dict[str, Any]) -> None:
    ctx["database"] = await connect(os.environ["DIY_DATABASE"])
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    ctx["client"] = httpx.AsyncClient(timeout=20, limits=limits, trust_env=False)
    ctx["secret"] = base64.b64decode(os.environ["DIY_SECRET"])


async def shutdown(ctx: dict[str, Any]) -> None:
    await ctx["client"].aclose()
    await ctx["database"].close()


async def run(ctx: dict[str, Any], id: str) -> None:
    """Done already: only the webhook is missing."""
    database = ctx["database"]
    # All at once: a row that is left unread keeps the connection's snapshot open, and its next write fails.
    [(type, records, webhook, results)] = await database.execute_fetchall(_LOOK, (id,))
    if results is None:
        results = json.dumps(process(json.loads(records)))
        await database.execute("UPDATE batches SET status = 'DONE', results = ? WHERE id = ?", (results, id))
    body = b'{"status":"DONE","id":"%b","type":"%b","response":{"records":%b}}'
    await send(ctx, id, json.loads(webhook), body % (id.encode(), type.encode(), results.encode()))
    await database.execute("UPDATE batches SET delivered = 1 WHERE id = ?", (id,))


def process(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**record, "_status": {"code": 200, "text": "OK"}} for record in records]


async def send(ctx: dict[str, Any], id: str, webhook: Mapping[str, Any], body: bytes) -> None:
    """Signed as Standard Webhooks has it. Raises arq's Retry."""
    now = str(int(time.time()))
    signed = hmac.digest(ctx["secret"], b"%b.%b.%b" % (id.encode(), now.encode(), body), hashlib.sha256)
    ours = {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    try:
        answer = await ctx["client"].post(webhook["endpoint"], content=body, headers={**webhook["headers"], **ours})
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Retry(defer=PAUSE * 2 ** ctx["job_try"]) from error


if __name__ == "__main__":
    logging.config.dictConfig(default_log_config(verbose=False))
    logging.getLogger("arq").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvloop.install()
    Worker(
        [run],
        redis_settings=RedisSettings.from_dsn(os.environ["DIY_REDIS"]),
        on_startup=startup,
        on_shutdown=shutdown,
        max_jobs=AT_ONCE,
        max_tries=TRIES,
        poll_delay=0.005,
        keep_result=0,
    ).run()
