"""Types whose handlers take their time, do not end, or take their process with them; with `isolate` and without.

Lies here as pip leaves a package; on `sys.path` or PYTHONPATH the broker finds its types. A record's key `act` says
what its handler does, `seconds` for how long, and `notes` is a file that gets a line when it begins.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from handlers.contract import Output, Params, RecordError, Ref, RetryableError, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.contract import Box, Config, Facts, Record

LIMIT = 2.0
POLL = 0.01
NEVER = 600
MANY = 100
"""More threads than asyncio has for `to_thread`."""


class Note(BaseModel):
    """The document that a batch may refer to."""

    word: str


class SlowParams(Params):
    """note: id of a note that the batch refers to."""

    note: str = ""


def note_of(params: SlowParams) -> list[Ref]:
    return [Ref("note", params.note, param="note")] if params.note else []


def sleep(record: Record, params: SlowParams, box: Box) -> Facts:
    time.sleep(float(str(record.fields["seconds"])))
    return {"slept": True}


def deaf(record: Record, params: SlowParams, box: Box) -> Facts:
    """Goes on whatever happens, until the file `gate` is there."""
    while not Path(str(record.fields["gate"])).exists():
        time.sleep(POLL)
    return {"heard": True}


def hold(record: Record, params: SlowParams, box: Box) -> Facts:
    """Waits for a line in the file `gate`, then holds Python's global lock for ever, as a regular expression may.

    A file without a line is one that somebody is about to write, who needs the lock for that.
    """
    gate = Path(str(record.fields["gate"]))
    while not (gate.exists() and gate.read_text()):
        time.sleep(POLL)
    ctypes.PyDLL(None).sleep(NEVER)
    return {"never": True}


def elsewhere(record: Record, params: SlowParams, box: Box) -> Facts:
    """Ends only in another process than that in which its batch began first."""
    if Path(str(record.fields["notes"])).read_text().splitlines()[0] == str(os.getpid()):
        time.sleep(NEVER)
    return {"late": True}


def heed(record: Record, params: SlowParams, box: Box) -> Facts:
    """Ends when it is cancelled, and notes that."""
    while not box.cancelled:
        time.sleep(POLL)
    note(record, "cancelled")
    raise RecordError(499, "cancelled")


def give_up(record: Record, params: SlowParams, box: Box) -> Facts:
    """Says cancelled although nobody asked for it."""
    raise RecordError(499, "cancelled")


def leave(record: Record, params: SlowParams, box: Box) -> Facts:
    os._exit(int(str(record.fields.get("status", 0))))


def fall(record: Record, params: SlowParams, box: Box) -> Facts:
    return {"never": ctypes.string_at(0)}


def starve(record: Record, params: SlowParams, box: Box) -> Facts:
    raise MemoryError


def later(record: Record, params: SlowParams, box: Box) -> Facts:
    """Succeeds the second time."""
    if len(Path(str(record.fields["notes"])).read_text().splitlines()) < 2:
        raise RetryableError("not yet")
    return {"late": True}


def refuse(record: Record, params: SlowParams, box: Box) -> Facts:
    raise RecordError(422, "too slow")


def crash(record: Record, params: SlowParams, box: Box) -> Facts:
    raise ValueError("a secret of the handler")


def exit_python(record: Record, params: SlowParams, box: Box) -> Facts:
    sys.exit(3)


def unpicklable(record: Record, params: SlowParams, box: Box) -> Facts:
    return {"lock": threading.Lock()}


def big(record: Record, params: SlowParams, box: Box) -> Facts:
    """20 MB that no compression makes small."""
    data = os.urandom(20_000_000)
    return {"sha256": hashlib.sha256(data).hexdigest(), "_url": Output(data, "application/octet-stream", "big.bin")}


def files(record: Record, params: SlowParams, box: Box) -> Facts:
    path = box.scratch / "made.bin"
    path.write_bytes(b"from a file")
    return {"_url": Output(path, "application/octet-stream", "made.bin"), "scratch": str(box.scratch)}


def litter(record: Record, params: SlowParams, box: Box) -> Facts:
    """Makes files, says where, and does not end."""
    (box.scratch / "left.bin").touch()
    note(record, str(box.scratch))
    return deaf(record, params, box)


def spawn(record: Record, params: SlowParams, box: Box) -> Facts:
    """Starts a program, says which, and does not end."""
    note(record, str(subprocess.Popen(["sleep", "600"]).pid))
    return deaf(record, params, box)


def tell(record: Record, params: SlowParams, box: Box) -> Facts:
    """What this process knows."""
    found = box.document(note_of(params)[0]) if params.note else None
    for percent in range(101):
        box.progress(percent / 100)
    return {
        "word": found.word if isinstance(found, Note) else None,
        "size": len(record.image),
        "place": record.index,
        "pid": os.getpid(),
        "setups": len(SETUPS),
        "cancelled": box.cancelled,
    }


def inside(record: Record, params: SlowParams, box: Box) -> Facts:
    box.run("upscaler", "upscale_2x", record.image, {})
    return {}


def signalled(record: Record, params: SlowParams, box: Box) -> Facts:
    """What a terminal or a service manager sends to all processes of a worker."""
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return {"alive": True}


def note(record: Record, line: str) -> None:
    if "notes" in record.fields:
        with Path(str(record.fields["notes"])).open("a") as notes:
            notes.write(f"{line}\n")


SETUPS: list[object] = []
ACTS: dict[object, Callable[[Record, Any, Box], Facts]] = {
    act.__name__: act
    for act in (
        sleep,
        deaf,
        hold,
        elsewhere,
        heed,
        give_up,
        leave,
        fall,
        starve,
        later,
        refuse,
        crash,
        exit_python,
        unpicklable,
        big,
        files,
        litter,
        spawn,
        tell,
        inside,
        signalled,
    )
}


class Slow:
    def setup(self, config: Config) -> None:
        SETUPS.append(self)

    def run(self, record: Record, params: SlowParams, box: Box) -> Facts:
        note(record, f"{os.getpid()}")
        return ACTS[record.fields.get("act", "tell")](record, params, box)

    def combine(self, facts: Sequence[Facts]) -> Facts:
        return {"pid": os.getpid(), "records": len(facts)}


class SlowLoop:
    """On the event loop: deaf to its cancellation, or to that of its threads, or it holds the loop."""

    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    async def run(self, record: Record, params: SlowParams, box: Box) -> Facts:
        note(record, f"{os.getpid()}")
        gate = Path(str(record.fields["gate"]))
        if record.fields["act"] == "threads":
            await asyncio.gather(*(asyncio.to_thread(deaf, record, params, box) for _ in range(MANY)))
        while not gate.exists():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(POLL)
        time.sleep(NEVER)
        return {"never": True}


class Outer:
    """Runs the type that the record's `inner` names."""

    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    async def run(self, record: Record, params: Any, box: Box) -> Facts:
        return await box.run(str(record.fields["inner"]), "run", record.image, {})


def _spec(type: str, handler: type, isolate: bool) -> Spec:
    return Spec(
        type=type,
        endpoints={"run": SlowParams},
        default_endpoint="run",
        handler=f"{__name__}:{handler.__name__}",
        summary="Takes its time.",
        time_limit=LIMIT,
        documents={"note": Note},
        references=note_of,
        isolate=isolate,
    )


SLOW = _spec("slow", Slow, isolate=False)
ISOLATED = _spec("slow-isolated", Slow, isolate=True)
OTHER = _spec("slow-other", Slow, isolate=True)
LOOP = _spec("slow-loop", SlowLoop, isolate=False)
OUTER = _spec("slow-outer", Outer, isolate=False)
PATIENT = replace(ISOLATED, type="slow-patient", time_limit=600.0)
LASTING = replace(SLOW, type="slow-lasting", time_limit=5.0)
