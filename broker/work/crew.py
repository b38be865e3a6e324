"""The handlers of one worker process: each called in its own way, CPU work in turn, all within their time limits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import structlog
from msgspec import Struct
from pydantic import ValidationError

from broker.work.box import RecordBox
from broker.work.calls import Call, isolated, on_loop, on_thread, outcome
from broker.work.clock import Clock
from broker.work.isolate import Children, Errand, number
from broker.work.messages import Combine, RunRecord, Task
from broker.work.references import Paths, References
from broker.work.turns import Turns
from handlers.contract import Combining, Config, Facts, Handler, Params, Record, RecordError, Spec
from handlers.registry import Registry, load_handler

GRACE = 5.0
"""Seconds that a handler may go on after its time limit, or an isolated one after its cancellation."""

Lend: TypeAlias = Callable[[str, Spec, Params], AbstractAsyncContextManager[Paths]]
"""(workspace, type, parameters) -> copies of the collections that they refer to, while the context is open."""

log = structlog.get_logger()


class Caller(Struct, frozen=True):
    """For whom a handler runs; `record` is None for all records together. clean: removes what a late end leaves."""

    spec: Spec
    batch: str
    record: str | None
    clock: Clock
    clean: Callable[[], None]


class Crew:
    """One a worker process, which is to end and start anew once `recycling` is true.

    A handler's time begins with its turn, and an isolated one's when its process is there. One that goes on after its
    time loses its turn to others, so that they need not wait for it; where it does not end soon, and nothing ends a
    thread, the worker is recycled.
    """

    def __init__(
        self,
        registry: Registry,
        types: tuple[str, ...],
        config: Config,
        *,
        threads: int,
        scratch: Path,
        lend: Lend,
    ) -> None:
        self.specs: dict[str, Spec] = {type: registry[type] for type in types}
        self.recycling = False
        self._scratch = scratch
        self._lend = lend
        self._handlers: dict[str, Handler] = {}
        self._turns = Turns(threads)
        self._children = Children(config, threads)
        self._stops: list[Callable[[], None]] = []
        try:
            for spec in self.specs.values():
                self._set_up(spec, config)
        except BaseException:
            self.close()
            raise

    @property
    def patience(self) -> float:
        """Seconds after which no handler of this process has a right to hold up the others."""
        return max(spec.time_limit for spec in self.specs.values()) + GRACE

    def on_recycle(self, stop: Callable[[], None]) -> None:
        """Call `stop` when this process is to end and start anew."""
        self._stops.append(stop)

    def recycle(self, **why: object) -> None:
        """End this process, so that it starts anew: a handler's code does not end. why: for the log."""
        if self.recycling:
            return
        self.recycling = True
        log.error("worker.recycling", **why)
        for stop in self._stops:
            stop()

    def box(self, batch: str, record: Record, references: References) -> RecordBox:
        """The box of one record; to be closed."""
        return RecordBox(batch, record, references, self._run_inside, self._scratch)

    async def call(self, type: str, params: Params, box: RecordBox) -> Facts:
        """Run a type's handler: `async def` on the event loop, `def` on a thread, an isolated one in its process.

        Raises what it raises, HandlerLeft, HandlerCrashed, and RecordError 504 over its time limit.
        """
        spec = self.specs[type]
        clock = box.clock = Clock(spec.time_limit, outer=box.outer.clock if box.outer is not None else None)
        caller = Caller(spec, box.batch, box.record.id, clock, box.close)
        if spec.isolate:
            task = RunRecord(number(), box.record, params, box.references, box.folder)
            return await self._in_turn(caller, partial(self._isolated, caller, task, box.progress))
        run = self._handlers[type].run
        if inspect.iscoroutinefunction(run):
            return await self._on_loop(caller, run(box.record, params, box))
        return await self._in_turn(caller, partial(_on_thread, caller, partial(run, box.record, params, box)))

    def combines(self, type: str) -> bool:
        """Whether the handler says something about all records of a batch together."""
        if self.specs[type].isolate:
            return self._children.combines(type)
        return hasattr(self._handlers[type], "combine")

    async def combine(self, type: str, batch: str, facts: Sequence[Facts]) -> Facts:
        """What a handler that combines says about all records of a batch together. Raises like `call`."""
        spec = self.specs[type]
        caller = Caller(spec, batch, None, Clock(spec.time_limit), _nothing)
        if spec.isolate:
            return await self._in_turn(caller, partial(self._isolated, caller, Combine(number(), facts), _nothing))
        handler = cast("Combining", self._handlers[type])
        return await self._in_turn(caller, partial(_on_thread, caller, partial(handler.combine, facts)))

    def close(self) -> None:
        """End isolated processes. Threads are left: one that hangs must not keep the process."""
        self._children.close()

    def _set_up(self, spec: Spec, config: Config) -> None:
        if spec.isolate:
            self._children.check(spec.type)
            return
        handler = load_handler(spec)
        handler.setup(config)
        self._handlers[spec.type] = handler

    async def _run_inside(
        self, outer: RecordBox, type: str, endpoint: str, image: bytes, params: Mapping[str, Any]
    ) -> Facts:
        spec = self.specs.get(type)
        if spec is None or endpoint not in spec.endpoints:
            raise RecordError(422, f"there is no {type}/{endpoint} here")
        try:
            checked = spec.endpoints[endpoint].model_validate(params)
        except ValidationError as error:
            raise RecordError(422, f"wrong parameters for {type}/{endpoint}") from error
        async with self._lend(outer.references.workspace, spec, checked) as snapshots:
            inner = outer.inner(image, snapshots)
            try:
                return await self.call(type, checked, inner)
            finally:
                inner.end()

    async def _in_turn(self, caller: Caller, start: Callable[[], Call]) -> Facts:
        try:
            turn = await self._turns.take()
            try:
                call = start()
            except BaseException:
                turn.end()
                raise
            call.ended.add_done_callback(lambda _: turn.end())
            return await self._outcome(caller, call, turn.end)
        finally:
            caller.clock.leave()

    async def _on_loop(self, caller: Caller, work: Coroutine[Any, Any, Facts]) -> Facts:
        caller.clock.work()
        try:
            return await self._outcome(caller, on_loop(work), _nothing)
        finally:
            caller.clock.leave()

    async def _outcome(self, caller: Caller, call: Call, end_turn: Callable[[], None]) -> Facts:
        try:
            facts: Facts = await outcome(call, caller.clock, caller.spec.time_limit)
            return facts
        finally:
            if not call.ended.done():
                self._leave_behind(caller, call, end_turn)

    def _leave_behind(self, caller: Caller, call: Call, end_turn: Callable[[], None]) -> None:
        """Nobody waits for this one any more. It keeps its turn until its time is over, though: it may still work."""
        call.ended.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        call.ended.add_done_callback(lambda _: caller.clean())
        if call.killable:
            return
        loop, left = asyncio.get_running_loop(), caller.clock.left
        loop.call_later(left, end_turn)
        loop.call_later(left + GRACE, self._recycle_unless_ended, caller, call)

    def _recycle_unless_ended(self, caller: Caller, call: Call) -> None:
        if not call.ended.done():
            self.recycle(type=caller.spec.type, batch=caller.batch, record=caller.record)

    def _isolated(self, caller: Caller, task: Task, progress: Callable[[float], None]) -> Call:
        begin = partial(asyncio.get_running_loop().call_soon_threadsafe, caller.clock.work)
        return isolated(Errand(self._children, caller.spec.type, task, begin, progress), GRACE)


def _on_thread(caller: Caller, work: Callable[[], Any]) -> Call:
    caller.clock.work()
    return on_thread(work)


def _nothing(*_: object) -> None:
    """Where there is nothing to clean, to end or to tell."""
