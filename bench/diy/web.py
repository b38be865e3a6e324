"""Its web server: validates, stores, enqueues, answers. `python -m bench.diy.web DESCRIPTOR`."""

from __future__ import annotations

import hmac
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from arq import create_pool
from arq.connections import RedisSettings
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, HttpUrl

from bench.diy.store import connect

Bearer = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


class Webhook(BaseModel):
    endpoint: HttpUrl
    headers: dict[str, str] = {}


class Submit(BaseModel):
    type: str
    endpoint: str | None = None
    records: list[dict[str, Any]] = Field(min_length=1, max_length=10)
    webhook: Webhook


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.database = await connect(os.environ["DIY_DATABASE"])
    app.state.queue = await create_pool(RedisSettings.from_dsn(os.environ["DIY_REDIS"]))
    yield
    await app.state.queue.aclose()
    await app.state.database.close()


app = FastAPI(lifespan=lifespan)


@app.post("/batches", status_code=201)
async def submit(body: Submit, bearer: Bearer, request: Request) -> dict[str, str]:
    if not hmac.compare_digest(bearer.credentials, os.environ["DIY_TOKEN"]):
        raise HTTPException(401)
    id = str(uuid.uuid4())
    await request.app.state.database.execute(
        "INSERT INTO batches (id, type, records, webhook) VALUES (?, ?, ?, ?)",
        (id, body.type, json.dumps(body.records), body.webhook.model_dump_json()),
    )
    await request.app.state.queue.enqueue_job("run", id)
    return {"id": id, "status": "CREATED"}


@app.get("/readyz")
async def ready() -> None:
    """For who starts it."""


if __name__ == "__main__":
    uvicorn.run(app, fd=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="warning", access_log=False)
