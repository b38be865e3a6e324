"""Evidence of one batch that went well, and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import Signals
from typing import Any

from msgspec import structs

from broker.batches import Outcome, Result, Status
from broker.deliveries import EVENT_DONE, State
from broker.media.links import stored
from tests.integration.receiver import Post
from tests.torture.checker import check
from tests.torture.content import Act, Input, Work, picture
from tests.torture.customer import Arrival, Mood
from tests.torture.driver import Injected
from tests.torture.evidence import AttemptSeen, BatchSeen, DeliverySeen, Evidence
from tests.torture.fleet import Exit
from tests.torture.history import Line
from tests.torture.load import Posted
from tests.torture.plan import Fault, Kind
from tests.torture.plugin.torture_types import output_of
from tests.torture.violations import Word

ID, HOOK = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-0000000000aa"
WORK = Work(1, "torture", "prove", (Input(7, True), Input(8, False, Act.REFUSE)), webhook=True)
GOOD, REFUSED = WORK.expected()
KEY = f"out/w/{ID}/1/0/proof.bin"
WORKER = 77
Spoil = Callable[[Evidence], Evidence]


def line(what: str, status: str, **values: Any) -> Line:
    unset = dict.fromkeys(Line.__dataclass_fields__)
    return Line(**{**unset, "what": what, "batch": ID, "run": 1, "status": status, "at": 1000, **values})


def arrival(
    at: int,
    mood: Mood = Mood.GOOD,
    signed: bool = True,
    body: bytes | None = None,
    id: str = HOOK,
    sender: int | None = WORKER,
    second: int | None = None,
) -> Arrival:
    """second: of its signature."""
    stamp = () if second is None else (("webhook-timestamp", str(second)),)
    post = Post("/hook?batch=1", (("webhook-id", id), *stamp), BODY if body is None else body)
    return Arrival(at, 1, post, mood, signed, sender)


def shown() -> list[dict[str, Any]]:
    return [
        {"_id": "1-0", "proof": GOOD.proof, "_status": {"code": 200, "text": "OK"}},
        {"_id": "1-1", "_status": {"code": 422, "text": REFUSED.proof}},
    ]


BODY = json.dumps({"id": ID, "response": {"records": shown()}}).encode()
BATCH = BatchSeen(ID, 1, Status.DONE, Outcome.PARTIAL, 1, True, (), 1000, 2000, small={1: picture(8)})
DELIVERY = DeliverySeen(HOOK, ID, 1, EVENT_DONE, State.DELIVERED, BODY)
RESULTS = (
    Result(0, 200, "OK", "r", {"proof": GOOD.proof, "picture": stored(KEY)}),
    Result(1, 422, REFUSED.proof, "r"),
)
CLAIM = line("batch", "PROCESSING", old_status="CREATED", old_run=1, old_seq=0, seq=1)
END = line("batch", "DONE", old_status="PROCESSING", old_run=1, old_seq=1, seq=1, outcome="partial")
FELL = {"old_status": "PROCESSING", "old_run": 1, "old_seq": 1, "seq": 1}
CRASH = line("batch", "CREATED", **FELL, crashes=1, owner=f"host:{WORKER}:id", lease_until=900)
STORE = line("result", "PROCESSING", seq=1, batch_seq=1, position=0)


def sound_evidence(folder: Path) -> Evidence:
    """The evidence of one batch that went well."""
    output = folder / "proof.bin"
    output.write_bytes(output_of(GOOD.proof))
    return Evidence(
        posted=[Posted(WORK, ids=[ID])],
        batches={ID: BATCH},
        results={ID: RESULTS},
        deliveries=[DELIVERY],
        history=[
            line("batch", "CREATED", seq=0),
            CLAIM,
            STORE,
            END,
            line("delivery", "DONE"),
            line("sending", State.DELIVERED, old_status=State.PENDING),
        ],
        arrivals=[arrival(3000)],
        attempts=[AttemptSeen(HOOK, 2990, True, lasted=10)],
        details={ID: {"response": {"records": shown()}}},
        files={KEY: output},
    )


def with_record(place: int, **values: Any) -> Spoil:
    return lambda sound: replace(
        sound, results={ID: [structs.replace(r, **values) if r.index == place else r for r in RESULTS]}
    )


def with_batch(**values: Any) -> Spoil:
    return lambda sound: replace(sound, batches={ID: replace(BATCH, **values)})


def with_line(added: Line, **values: Any) -> Spoil:
    return lambda sound: replace(sound, history=[*sound.history, replace(added, **values)])


def with_arrivals(*arrivals: Arrival) -> Spoil:
    """Each with its try."""
    tries = [AttemptSeen(one.id, one.left - 10, one.mood.thanks, lasted=10) for one in arrivals]
    return lambda sound: replace(sound, arrivals=arrivals, attempts=tries)


def with_tries(*tries: AttemptSeen) -> Spoil:
    return lambda sound: replace(sound, attempts=tries)


def with_delivery(state: State) -> Spoil:
    return lambda sound: replace(sound, deliveries=[replace(DELIVERY, state=state)])


def with_exit(status: int, asked: Signals | None = None, *, ready: bool = True) -> Spoil:
    return lambda sound: replace(sound, exits=[Exit("worker 0", WORKER, 9000, status, asked, Path(), ready)])


def words(evidence: Evidence) -> set[Word]:
    return {violation.word for violation in check(evidence)}


def with_fault(evidence: Evidence, kind: Kind, began: int, ended: int, stopped: int | None = None) -> Evidence:
    return replace(evidence, injected=[Injected(Fault(0, kind), began, ended, stopped)])


def another_was_stopped(sound: Evidence) -> Evidence:
    return with_fault(with_line(CRASH)(sound), Kind.WORKER_STOPPED, 500, 900, WORKER + 1)


def with_crash_of_a_holder(sound: Evidence) -> Evidence:
    """Counted before the end of the lease, whatever has befallen others."""
    crashed = with_line(CRASH, lease_until=2000)(sound)
    return with_fault(replace(crashed, harmed={WORKER}), Kind.DATABASE_LOCKED, 500, 900)
