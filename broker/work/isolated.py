"""The process of one isolated type: `python -m broker.work.isolated PARENT_PID CHANNEL ORDERS`, two descriptors."""

from __future__ import annotations

import asyncio
import faulthandler
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from pydantic import BaseModel

from broker.tether import die_with
from broker.work.messages import Answer, Crashed, Done, MayPass, Progress, Ready, Refused, RunRecord, Start, Task
from handlers.contract import Facts, Handler, RecordError, Ref, RetryableError
from handlers.registry import Registry, load_handler

LEAST_PROGRESS = 0.01 - 1e-9  # a step from 0.28 to 0.29 counts, which floats make a little less than 0.01


class Channel:
    """The pipe of tasks and answers, on which any thread of a handler may speak. Ends the process with the worker."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = Lock()

    def receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            os._exit(0)

    def send(self, message: Ready | Progress | Answer) -> None:
        """Raises what pickling the message raises."""
        with self._lock:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(0)


class Orders:
    """The pipe that is listened to while a handler runs: cancellations, and the worker's end."""

    def __init__(self, connection: Connection) -> None:
        self.cancelled = 0
        self._connection = connection
        Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self.cancelled = self._connection.recv().number
            except (EOFError, OSError):
                os._exit(0)


class IsolatedBox:
    """The `Box` of one record in this process."""

    def __init__(self, task: RunRecord, channel: Channel, orders: Orders) -> None:
        self._task = task
        self._channel = channel
        self._orders = orders
        self._told = -1.0

    @property
    def cancelled(self) -> bool:
        return self._orders.cancelled == self._task.number

    @property
    def scratch(self) -> Path:
        self._task.scratch.mkdir(mode=0o700, exist_ok=True)
        return self._task.scratch

    def progress(self, fraction: float) -> None:
        if fraction >= self._told + LEAST_PROGRESS:
            self._told = fraction
            self._channel.send(Progress(fraction))

    def document(self, ref: Ref) -> BaseModel:
        return self._task.references.documents[ref.kind, ref.id]

    def snapshot(self, kind: str, id: str) -> Path:
        return self._task.references.snapshots[kind, id]

    def run(self, type: str, endpoint: str, image: bytes, params: Mapping[str, Any]) -> Awaitable[Facts]:
        raise RuntimeError(f"an isolated handler cannot run others, so not {type}/{endpoint}")


def main() -> None:
    """Set up the type, then answer one task after the other until the worker closes the pipes or kills this process."""
    parent, channel, orders = map(int, sys.argv[1:])
    die_with(parent)
    _outlive_signals()
    faulthandler.enable()
    for descriptor in (channel, orders):
        os.set_inheritable(descriptor, False)
    _serve(Channel(Connection(channel)), Orders(Connection(orders)))


def _outlive_signals() -> None:
    """The worker decides when this process ends. Not SIG_IGN, which programs that a handler starts would inherit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)


def _serve(channel: Channel, orders: Orders) -> None:
    start: Start = channel.receive()
    sys.path[:] = start.path
    try:
        handler = load_handler(Registry.installed()[start.type])
        handler.setup(start.config)
    except BaseException:
        channel.send(Crashed(traceback.format_exc()))
        return
    channel.send(Ready(combines=hasattr(handler, "combine")))
    while True:
        _answer(handler, channel, orders)


def _answer(handler: Handler, channel: Channel, orders: Orders) -> None:
    try:
        task: Task = channel.receive()
        channel.send(Done(_call(handler, task, channel, orders)))
    except BaseException as error:
        channel.send(_as_answer(error))


def _call(handler: Any, task: Task, channel: Channel, orders: Orders) -> Facts:
    if not isinstance(task, RunRecord):
        together: Facts = handler.combine(task.facts)
        return together
    run, box = handler.run, IsolatedBox(task, channel, orders)
    facts: Facts
    if inspect.iscoroutinefunction(run):
        facts = asyncio.run(run(task.record, task.params, box))
    else:
        facts = run(task.record, task.params, box)
    return facts


def _as_answer(error: BaseException) -> Answer:
    if isinstance(error, RecordError):
        return Refused(error.code, error.text)
    if isinstance(error, RetryableError | OSError | MemoryError):
        return MayPass(traceback.format_exc())
    return Crashed(traceback.format_exc())


if __name__ == "__main__":
    main()
