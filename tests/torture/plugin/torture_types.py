"""Three types whose results prove which handler ran, with which parameters, over which bytes of which record.

Lies here as pip leaves a package; on PYTHONPATH the broker finds its types: one on a thread, one on the event loop, one
in a process of its own. A record's key `act` says what its handler does, and `seconds` how long it takes before that.
Whoever is about to harm its process leaves a file in the folder TORTURE_HARMED, named by the process's id.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

from handlers.contract import Box, Config, Facts, Output, Params, Record, RecordError, Spec

PROVE, PROVE_AGAIN = "prove", "prove_again"
REFUSED = 422
TIME_LIMIT = 10.0
"""With the watchdog's grace, longer than a worker is stopped: to it, that looks as if a handler held it."""
FOR_EVER = 3600.0


class ProveParams(Params):
    """salt: goes into the proof."""

    endpoint: ClassVar[str] = PROVE
    salt: str


class ProveAgainParams(ProveParams):
    endpoint: ClassVar[str] = PROVE_AGAIN


def proof_of(type: str, endpoint: str, salt: str, index: int, image: bytes) -> str:
    """What only the right handler with the right input can say."""
    return hashlib.sha256(f"{type}\n{endpoint}\n{salt}\n{index}\n".encode() + image).hexdigest()


def output_of(proof: str) -> bytes:
    """The bytes of the file that the handler makes."""
    return (proof * 64).encode()


class Prover:
    """On a thread; does not heed that it is cancelled. `overrun` goes on long after the time limit."""

    type: ClassVar[str] = "torture"

    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    def run(self, record: Record, params: ProveParams, box: Box) -> Facts:
        if record.fields["act"] == "overrun":
            _note_harm()
        time.sleep(_seconds(record))
        return _prove(self.type, record, params)


class IsolatedProver(Prover):
    type: ClassVar[str] = "torture-isolated"


class AsyncProver:
    """On the event loop."""

    type: ClassVar[str] = "torture-async"

    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    async def run(self, record: Record, params: ProveParams, box: Box) -> Facts:
        await asyncio.sleep(_seconds(record))
        return _prove(self.type, record, params)


def _seconds(record: Record) -> float:
    return FOR_EVER if record.fields["act"] == "overrun" else float(str(record.fields["seconds"]))


def _note_harm() -> None:
    (Path(os.environ["TORTURE_HARMED"]) / str(os.getpid())).touch()


def _prove(type: str, record: Record, params: ProveParams) -> Facts:
    proof = proof_of(type, params.endpoint, params.salt, record.index, record.image)
    match record.fields["act"]:
        case "die":
            _note_harm()
            os.kill(os.getpid(), signal.SIGKILL)
        case "refuse":
            raise RecordError(REFUSED, proof)
    return {"proof": proof, "picture": Output(output_of(proof), "application/octet-stream", "proof.bin")}


def _spec(handler: type[Prover | AsyncProver], *, isolate: bool = False) -> Spec:
    return Spec(
        type=handler.type,
        endpoints={PROVE: ProveParams, PROVE_AGAIN: ProveAgainParams},
        default_endpoint=PROVE,
        handler=f"{__name__}:{handler.__name__}",
        summary="Proves that it ran.",
        time_limit=TIME_LIMIT,
        isolate=isolate,
    )


TORTURE, ASYNC, ISOLATED = _spec(Prover), _spec(AsyncProver), _spec(IsolatedProver, isolate=True)
