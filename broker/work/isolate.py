"""Isolated types: their handlers run in processes of their own, which can be killed and may die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from threading import Lock, Semaphore

from broker.work.child import Child, HandlerCrashed
from broker.work.messages import Answer, Cancel, Crashed, Done, MayPass, Refused, Task
from handlers.contract import Config, Facts, RecordError, RetryableError

number = count(1).__next__
"""The number of the next task."""


class Children:
    """The processes of a worker's isolated types, at most `most` at once; each is used by one task after the other."""

    def __init__(self, config: Config, most: int) -> None:
        self._config = config
        self._most = most
        self._lock = Lock()
        # Who holds one is using a process, so where there are enough of them, one is idle and can be displaced.
        self._room = Semaphore(most)
        self._all: list[Child] = []
        self._starting = 0
        self._idle: list[Child] = []
        self._combining: set[str] = set()
        self._closed = False
        # Children die with the thread that starts them, so that is one that stays.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="isolate")

    def check(self, type: str) -> None:
        """Start the first process of a type. Raises HandlerCrashed for one that cannot be set up, OSError."""
        with self.lent(type):
            pass

    def combines(self, type: str) -> bool:
        return type in self._combining

    @contextmanager
    def lent(self, type: str) -> Iterator[Child]:
        """A process of one's own; ended when the block raises, else there for the next one."""
        with self._room:
            child = self._take(type) or self._start(type)
            try:
                yield child
            except BaseException:
                self._drop(child)
                raise
            with self._lock:
                if not self._closed:
                    self._idle.append(child)

    def close(self) -> None:
        """Kill all."""
        with self._lock:
            self._closed, children = True, list(self._all)
        for child in children:
            child.kill()
        for child in children:
            child.reap()
        self._starter.shutdown()

    def _take(self, type: str) -> Child | None:
        """An idle process of the type."""
        while True:
            with self._lock:
                child = next((idle for idle in reversed(self._idle) if idle.type == type), None)
                if child is None:
                    return None
                self._idle.remove(child)
            if child.alive:
                return child
            self._drop(child)

    def _start(self, type: str) -> Child:
        """A new process; where there are enough, it takes the place of the one that has been idle longest."""
        with self._lock:
            enough = len(self._all) + self._starting >= self._most
            displaced = self._idle.pop(0) if self._idle and enough else None
            self._starting += 1
        try:
            if displaced is not None:
                self._drop(displaced)
            child = self._spawn(type)
        finally:
            with self._lock:
                self._starting -= 1
        try:
            if child.set_up(self._config):
                self._combining.add(type)
        except BaseException:
            self._drop(child)
            raise
        return child

    def _spawn(self, type: str) -> Child:
        with self._lock:
            if self._closed:
                raise RetryableError("the worker is ending")
            child = self._starter.submit(Child, type).result()
            self._all.append(child)
            return child

    def _drop(self, child: Child) -> None:
        """It counts until it has ended."""
        child.close()
        with self._lock:
            if child in self._all:
                self._all.remove(child)


class Errand:
    """One task for a process of an isolated type: `run` blocks, on a thread; the rest is for the event loop's thread.

    begin: called when the process is set up and begins. progress: called with what the handler says.
    """

    def __init__(
        self, children: Children, type: str, task: Task, begin: Callable[[], object], progress: Callable[[float], None]
    ) -> None:
        self._children = children
        self._type = type
        self._task = task
        self._begin = begin
        self._progress = progress
        self._lock = Lock()
        self._wanted = True
        self._child: Child | None = None

    def run(self) -> Facts:
        """What the handler returns or raises; HandlerCrashed for an exception that its contract does not know."""
        with self._children.lent(self._type) as child:
            answer = self._do(child)
        return _facts(answer)

    def cancel(self) -> None:
        """Tell the handler that its result is no longer wanted."""
        with self._lock:
            self._wanted = False
            if self._child is not None:
                with suppress(OSError):
                    self._child.orders.send(Cancel(self._task.number))

    def kill(self) -> None:
        with self._lock:
            self._wanted = False
            if self._child is not None:
                self._child.kill()

    def _do(self, child: Child) -> Answer:
        with self._lock:
            if not self._wanted:
                return Refused(499, "cancelled")
            self._child = child
        try:
            self._begin()
            return child.do(self._task, self._progress)
        finally:
            with self._lock:
                self._child = None


def _facts(answer: Answer) -> Facts:
    match answer:
        case Done(facts):
            return facts
        case Refused(code, text):
            raise RecordError(code, text)
        case MayPass(traceback):
            raise RetryableError(traceback)
        case Crashed(traceback):
            raise HandlerCrashed(traceback)
