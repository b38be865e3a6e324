"""Types of a party that means harm or knows no better: the endpoint says what goes wrong, the record's keys how.

Lies here as pip leaves a package; on `sys.path` or PYTHONPATH the broker finds its types.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from handlers.contract import Output, Params, RecordError, Ref, RetryableError, Spec

if TYPE_CHECKING:
    from handlers.contract import Box, Config, Facts, Record

POLL = 0.01


class Nothing(Params):
    """No parameters."""


class Renamed(Params):
    """A parameter whose name on the wire is not its name in Python."""

    amount: int = Field(1, alias="how-much")


class Relay(Params):
    """None either: the record names the type and endpoint that run inside it."""


class Trap(Params):
    """trap: a file; once it is there, nobody can tell what these parameters refer to."""

    trap: str


def references(params: Any) -> list[Ref]:
    if isinstance(params, Trap) and Path(params.trap).exists():
        raise ValueError("trapped")
    return []


def echo(record: Record, params: Any, box: Box) -> Facts:
    return {"size": len(record.image), "echo": dict(record.fields)}


def renamed(record: Record, params: Renamed, box: Box) -> Facts:
    return {"amount": params.amount}


def gate(record: Record, params: Any, box: Box) -> Facts:
    """Note the start in the file `ledger`; wait until the file `gate` is there, if one is named."""
    note(record)
    while "gate" in record.fields and not Path(str(record.fields["gate"])).exists():
        if box.cancelled:
            note(record, "cancelled")
            raise RecordError(499, "cancelled")
        time.sleep(POLL)
    return {"passed": True}


def stubborn(record: Record, params: Any, box: Box) -> Facts:
    """Looks at nothing but its own gate: deaf to cancellation."""
    note(record)
    while not Path(str(record.fields["gate"])).exists():
        time.sleep(POLL)
    return {"passed": True}


def sleep(record: Record, params: Any, box: Box) -> Facts:
    note(record)
    time.sleep(float(str(record.fields["seconds"])))
    return {"slept": True}


def crash(record: Record, params: Any, box: Box) -> Facts:
    return {"never": 1 // 0}


def leave(record: Record, params: Any, box: Box) -> Facts:
    sys.exit(3)


def cancel(record: Record, params: Any, box: Box) -> Facts:
    raise asyncio.CancelledError


def refuse(record: Record, params: Any, box: Box) -> Facts:
    kinds: dict[object, tuple[Any, Any]] = {
        "plain": (422, "too blurred"),
        "nul": (422, "a\0b"),
        "surrogate": (422, "a\ud800b"),
        "no text": (422, None),
        "success": (200, "all good"),
        "no code": ("broken", "what"),
        "huge": (422, "x" * 100_000),
    }
    raise RecordError(*kinds[record.fields["kind"]])


def facts(record: Record, params: Any, box: Box) -> Facts:
    seven: Any = 7
    kinds: dict[object, Any] = {
        "nan": {"a": float("nan")},
        "set": {"a": {1, 2}},
        "bytes": {"a": b"x"},
        "object": {"a": object()},
        "nul": {"a": "x\0"},
        "surrogate": {"a": "\ud800"},
        "tuple key": {(1, 2): 1},
        "none": None,
        "list": [1],
        "bad name": {"a": Output(b"x", "image/png", "../../escape.png")},
        "empty name": {"a": Output(b"x", "image/png", "")},
        "no bytes": {"a": Output(seven, "image/png", "a.png")},
        "no file": {"a": Output(box.scratch / "missing.png", "image/png", "a.png")},
        "forged output": {"a": {"$output": "in/another/workspace/0"}},
    }
    wrong: Facts = kinds[record.fields["kind"]]
    return wrong


def files(record: Record, params: Any, box: Box) -> Facts:
    """Outputs at several depths, one of them from a file."""
    path = box.scratch / "made.bin"
    path.write_bytes(b"from a file")
    return {
        "_url_of_file": Output(path, "application/octet-stream", "made.bin"),
        "pages": [{"image": Output(b"first", "image/webp", "page.webp")}, {"image": None}],
    }


def flaky(record: Record, params: Any, box: Box) -> Facts:
    """Fails as often as the record's `failures` says."""
    if len(note(record)) <= int(str(record.fields["failures"])):
        raise RetryableError("not yet")
    return {"done": True}


def no_disk(record: Record, params: Any, box: Box) -> Facts:
    """Fails `failures` times by the error number `errno`."""
    if len(note(record)) <= int(str(record.fields["failures"])):
        number = int(str(record.fields["errno"]))
        raise OSError(number, os.strerror(number))
    return {"done": True}


def note(record: Record, what: str = "started") -> list[str]:
    """Add a line to the record's `ledger`; returns the lines of this record."""
    ledger = Path(str(record.fields["ledger"]))
    with ledger.open("a") as file:
        file.write(f"{record.index} {what}\n")
    return [line for line in ledger.read_text().splitlines() if line == f"{record.index} {what}"]


ACTIONS: dict[str, Callable[[Record, Any, Box], Facts]] = {
    action.__name__: action
    for action in (echo, gate, stubborn, sleep, crash, leave, cancel, refuse, facts, files, flaky, no_disk)
}
ENDPOINTS: dict[str, type[Params]] = {name: type(name, (Nothing,), {}) for name in ACTIONS}


class Hostile:
    """Calls what the endpoint is named after."""

    def setup(self, config: Config) -> None:
        self._config = config

    def run(self, record: Record, params: Any, box: Box) -> Facts:
        if isinstance(params, Renamed):
            return renamed(record, params, box)
        if isinstance(params, Trap):
            return echo(record, params, box)
        return ACTIONS[type(params).__name__](record, params, box)


class HostileAsync:
    """The same on the event loop, where waiting is done by `await`."""

    def setup(self, config: Config) -> None:
        self._config = config

    async def run(self, record: Record, params: Any, box: Box) -> Facts:
        name = type(params).__name__
        if isinstance(params, Relay):
            inner = record.fields
            return await box.run(str(inner["type"]), str(inner["endpoint"]), record.image, {})
        if name != "gate":
            return ACTIONS[name](record, params, box)
        note(record)
        try:
            while "gate" in record.fields and not Path(str(record.fields["gate"])).exists():
                await asyncio.sleep(POLL)
        except asyncio.CancelledError:
            note(record, "cancelled")
            raise
        return {"passed": True}


def _spec(type: str, handler: type, time_limit: float, **more: type[Params]) -> Spec:
    return Spec(
        type=type,
        endpoints={**ENDPOINTS, **more},
        default_endpoint="echo",
        handler=f"{__name__}:{handler.__name__}",
        summary="Does harm.",
        time_limit=time_limit,
        references=references,
    )


HOSTILE = _spec("hostile", Hostile, 60.0, renamed=Renamed, trap=Trap)
SLOW = _spec("hostile-slow", Hostile, 0.5)
ASYNC = _spec("hostile-async", HostileAsync, 60.0, relay=Relay)
ASYNC_SLOW = _spec("hostile-async-slow", HostileAsync, 0.5)
