"""The real commands as processes: started, watched until they are ready, and always stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import httpx

from tests.acceptance.forked import Forked, fork

SECONDS = 120.0
LOOK_SECONDS = 0.05
BROKER = (sys.executable, "-m", "broker")
COLD = "demo"
"""The command of which the whole start is tried. It starts `up`, which starts `web` and `worker`, all by themselves."""
MOST = 1 << 20
"""Bytes that a command may say."""


def until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Look until the condition holds. Fails, saying what did not come, after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(LOOK_SECONDS)


@dataclass(frozen=True)
class Seen:
    """A process of this machine. The start time tells it from a later one with the same number."""

    pid: int
    parent: int
    started: int
    command: str

    @property
    def alive(self) -> bool:
        return self in running_processes()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def running_processes() -> list[Seen]:
    """All processes but those that ended and wait for their parent to notice."""
    seen = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                seen.append(Seen(int(folder.name), int(fields[1]), int(fields[19]), command))
    return seen


@dataclass
class Running:
    """A command that runs in a process group of its own, as at a terminal."""

    process: subprocess.Popen[bytes] | Forked
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def children(self) -> list[Seen]:
        return [seen for seen in running_processes() if seen.parent == self.pid]

    def child(self, word: str) -> Seen | None:
        """The child in whose command the word stands, if it runs."""
        return next((seen for seen in self.children if word in seen.command.split()), None)

    def valkey(self) -> Seen | None:
        return next((seen for seen in self.children if "valkey-server" in seen.command), None)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, seconds: float = SECONDS) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def says(self, text: str) -> bool:
        return text in self.err.read_text() + self.out.read_text()


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass
class Commands:
    """Runs commands in `folder`, with `environment` added to the test's own."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    def with_environment(self, **environment: str) -> Commands:
        """The same with more settings; what it starts is stopped with the rest."""
        return Commands(self.folder, {**self.environment, **environment}, self.started)

    def with_packages(self, *folders: Path) -> Commands:
        """The same, which finds the packages in these folders before those on the test's own PYTHONPATH."""
        given = (*map(str, folders), os.environ.get("PYTHONPATH", ""))
        return self.with_environment(PYTHONPATH=os.pathsep.join(filter(None, given)))

    @property
    def temporary_files(self) -> list[Path]:
        """What lies in the commands' folder for temporary files."""
        return list(Path(self.environment["TMPDIR"]).iterdir())

    @property
    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
        return {**own, **self.environment}

    def run(self, *arguments: str, seconds: float = SECONDS, typed: str = "") -> Done:
        """Run a `broker` command to its end; `typed` is what it can read."""
        with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
            stdin.write(typed.encode())
            stdin.seek(0)
            process = self._start(arguments, (stdin.fileno(), stdout.fileno(), stderr.fileno()))
            try:
                code = process.wait(seconds)
            finally:
                process.kill()
            out, err = (os.pread(file.fileno(), MOST, 0).decode() for file in (stdout, stderr))
        return Done(code, out, err)

    def start(self, *arguments: str, before: tuple[str, ...] = ()) -> Running:
        """Start a `broker` command; `before` is a program that runs it."""
        name = f"{len(self.started)}-{arguments[0]}"
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with Path(os.devnull).open("rb") as stdin, out.open("wb") as stdout, err.open("wb") as stderr:
            process = self._start(arguments, (stdin.fileno(), stdout.fileno(), stderr.fileno()), before)
        running = Running(process, out, err)
        self.started.append(running)
        return running

    def _start(
        self, arguments: Sequence[str], streams: tuple[int, int, int], before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes] | Forked:
        """With its libraries loaded already, unless the start itself is what is tried."""
        if not before and arguments[0] != COLD:
            return fork(arguments, self.folder, self._environment, streams)
        stdin, stdout, stderr = streams
        return subprocess.Popen(
            [*before, *BROKER, *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def stop_all(self) -> None:
        """Stop what still runs."""
        for running in reversed(self.started):
            if running.process.poll() is None:
                running.signal(signal.SIGTERM)
        for running in reversed(self.started):
            with suppress(subprocess.TimeoutExpired):
                running.wait(20)
            running.process.kill()
            running.wait()

    def print_all(self) -> None:
        """Print what all said: pytest shows it when the test failed."""
        for running in reversed(self.started):
            said = f"{running.out.read_text(errors='replace')}\n{running.err.read_text(errors='replace')}"
            sys.stdout.write(f"--- {running.out.stem}, exit status {running.process.returncode}\n{said}\n")


@contextmanager
def opened(folder: Path, *, quiet: bool = False) -> Iterator[Commands]:
    """Commands in a folder, with a folder of their own for temporary files. quiet: what they said stays in files."""
    with tempfile.TemporaryDirectory(prefix="a") as temporary:
        commands = Commands(folder, {"TMPDIR": temporary})
        try:
            yield commands
        finally:
            commands.stop_all()
            if not quiet:
                commands.print_all()


def is_ready(url: str) -> bool:
    """verify: a client that reads the system's authorities costs 50 ms each time, as much as a process that starts."""
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, verify=False).status_code == 200
    except httpx.TransportError:
        return False
