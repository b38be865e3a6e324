"""The process of one isolated type, as its worker sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from threading import Lock

from broker.work.messages import Answer, Crashed, Progress, Ready, Start, Task
from handlers.contract import Config, RetryableError

START_SECONDS = 120.0
"""How long an isolated type may take for its imports and its `setup`."""


class HandlerCrashed(Exception):
    """An isolated handler raised what its contract does not know. The message is its traceback."""


class Child:
    """A process that runs one isolated type. Any thread may kill it; the rest is for one thread at a time."""

    def __init__(self, type: str) -> None:
        self.type = type
        self.channel, theirs = Pipe()
        listens, self.orders = Pipe(duplex=False)
        self._lock = Lock()
        with theirs, listens:
            descriptors = (theirs.fileno(), listens.fileno())
            arguments = map(str, (os.getpid(), *descriptors))
            # A session of its own: Ctrl-C at the terminal is for the worker, and what a handler starts is killed too.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "broker.work.isolated", *arguments],
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether an idle process is there: it says nothing unasked, so only its end can be read."""
        return not self.channel.poll()

    def set_up(self, config: Config) -> bool:
        """Have it load and set up its type; tells whether that one combines. Raises HandlerCrashed, OSError."""
        with self._death_noticed():
            self.channel.send(Start(sys.path, self.type, config))
            if not self.channel.poll(START_SECONDS):
                raise TimeoutError(f"the type {self.type} was not set up within {START_SECONDS:g} s")
            ready: Ready | Crashed = self.channel.recv()
        if isinstance(ready, Crashed):
            raise HandlerCrashed(ready.traceback)
        return ready.combines

    def do(self, task: Task, progress: Callable[[float], None]) -> Answer:
        """Blocks until the task is done. Raises RetryableError when the process dies meanwhile."""
        with self._death_noticed():
            self.channel.send(task)
            while isinstance(said := self.channel.recv(), Progress):
                progress(said.fraction)
        answer: Answer = said
        return answer

    def kill(self) -> None:
        """At once, with everything that it started."""
        with self._lock:
            if self.process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)

    def reap(self) -> int:
        """Kill it and wait for its end, which a caller of `do` notices. Returns its exit status, or minus a signal."""
        self.kill()
        with self._lock:
            return self.process.wait()

    def close(self) -> None:
        """Reap it and forget the pipes, which nobody may be using."""
        self.reap()
        self.channel.close()
        self.orders.close()

    @contextmanager
    def _death_noticed(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            status = self.reap()
            raise RetryableError(f"the process of {self.type} died: {_cause(status)}") from error


def _cause(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"signal {-status}"
