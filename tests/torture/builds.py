"""Broken builds of the broker, and the short scenario in which each shows what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.torture.content import slow_works
from tests.torture.load import Pace
from tests.torture.plan import Fault, Kind
from tests.torture.run import Scenario
from tests.torture.violations import Word

BROKEN = Path(__file__).with_name("broken")
RECORD_SECONDS = 2.0


@dataclass(frozen=True)
class Build:
    """A broken build, the fault under which it must show, and the word for what it breaks."""

    name: str
    fault: Fault
    word: Word


BUILDS = (
    Build("without-fencing", Fault(1.5, Kind.WORKER_STOPPED, target=0, lasts=7.0), Word.STALE_WRITE),
    Build("without-sweep", Fault(1.5, Kind.WORKER_KILLED, target=0), Word.LOST),
    Build("without-commit-order", Fault(1.5, Kind.WEB_KILLED, target=0), Word.NEVER_COMMITTED),
)


def scenario(fault: Fault, build: str = "") -> Scenario:
    """Two workers that are both busy when the fault comes. No build: the sound one."""
    return Scenario(
        seed=1,
        seconds=2.0,
        webs=1,
        workers=2,
        pace=Pace(a_second=8.0),
        plan=(fault,),
        works=slow_works(RECORD_SECONDS),
        patience=5.0,
        environment={"TORTURE_BROKEN": build, "BROKER_WORKER_BATCHES": "4"},
        packages=(BROKEN,),
    )
