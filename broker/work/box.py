"""What a running handler may ask of the broker, and how its code is called."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from broker.work.calls import on_thread, within
from broker.work.documents import Documents
from handlers.contract import Config, Facts, Handler, Params, Record, RecordError, Ref, Spec
from handlers.registry import Registry, load_handler


class Crew:
    """The handlers of one worker process, set up once, and the turns of their CPU work."""

    def __init__(self, registry: Registry, types: tuple[str, ...], config: Config, threads: int) -> None:
        self.specs: dict[str, Spec] = {type: registry[type] for type in types}
        self._handlers: dict[str, Handler] = {}
        for type, spec in self.specs.items():
            handler = load_handler(spec)
            handler.setup(config)
            self._handlers[type] = handler
        self._turns = asyncio.Semaphore(threads)

    async def call(self, type: str, record: Record, params: Params, box: RecordBox) -> Facts:
        """Run a type's handler: `async def` on the event loop, `def` on a thread when its turn comes.

        Raises what it raises, HandlerLeft, and RecordError 504 over its time limit, which begins with its turn. A
        thread that goes on after that has lost its turn to others.
        """
        run, limit = self._handlers[type].run, self.specs[type].time_limit
        if inspect.iscoroutinefunction(run):
            facts: Facts = await within(limit, run(record, params, box))
            return facts
        return await self._in_turn(limit, partial(run, record, params, box))

    async def combine(self, type: str, facts: Sequence[Facts]) -> Facts | None:
        """What the handler says about all records of a batch together, None if nothing. Raises like `call`."""
        combine = getattr(self._handlers[type], "combine", None)
        if combine is None:
            return None
        return await self._in_turn(self.specs[type].time_limit, partial(combine, facts))

    async def _in_turn(self, limit: float, work: Callable[[], Any]) -> Facts:
        async with self._turns:
            facts: Facts = await within(limit, on_thread(work))
        return facts


@dataclass(slots=True)
class RecordBox:
    """The `Box` of one record."""

    crew: Crew
    record: Record
    documents: Documents
    cancelled: bool = False
    done: float = 0.0
    _scratch: Path | None = None

    @property
    def scratch(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="broker-"))
        return self._scratch

    def progress(self, fraction: float) -> None:
        self.done = min(1.0, max(self.done, fraction))

    def document(self, ref: Ref) -> BaseModel:
        return self.documents[ref.kind, ref.id]

    async def run(self, type: str, endpoint: str, image: bytes, params: Mapping[str, Any]) -> Facts:
        """Another type's handler inside this record, in the same worker. Raises RecordError for what does not exist."""
        spec = self.crew.specs.get(type)
        if spec is None or endpoint not in spec.endpoints:
            raise RecordError(422, f"there is no {type}/{endpoint} here")
        try:
            checked = spec.endpoints[endpoint].model_validate(params)
        except ValidationError as error:
            raise RecordError(422, f"wrong parameters for {type}/{endpoint}") from error
        inner = Record(self.record.index, self.record.id, image, self.record.fields)
        return await self.crew.call(type, inner, checked, self)

    def close(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
