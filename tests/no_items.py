"""What a crew of types without items lends its handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.work.references import Paths, References
from handlers.contract import Params, Spec

NO_REFERENCES = References("workspace", {}, {})


@asynccontextmanager
async def lend_nothing(_workspace: str, _spec: Spec, _params: Params) -> AsyncIterator[Paths]:
    yield {}
