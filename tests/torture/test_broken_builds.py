"""The test of the test: a broker that lacks one of its safeguards is caught, by the name of what it breaks.

They are short, so they are part of `make test`; a build's faults are chosen so that it must show.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import KINDS
from tests.torture.content import slow_works
from tests.torture.load import Pace
from tests.torture.plan import Fault, Kind
from tests.torture.run import Scenario, torture
from tests.torture.violations import Word

BROKEN = Path(__file__).with_name("broken")
RECORD_SECONDS = 2.0
WORKER_STOPS = Fault(1.5, Kind.WORKER_STOPPED, target=0, lasts=7.0)
WORKER_DIES = Fault(1.5, Kind.WORKER_KILLED, target=0)
WEB_DIES = Fault(1.5, Kind.WEB_KILLED, target=0)


def scenario(build: str, fault: Fault) -> Scenario:
    """Two workers that are both busy when the fault comes, on a broken build."""
    return Scenario(
        seed=1,
        seconds=2.0,
        webs=1,
        workers=2,
        pace=Pace(a_second=12.0),
        plan=(fault,),
        works=slow_works(RECORD_SECONDS),
        patience=6.0,
        environment={"PYTHONPATH": str(BROKEN), "TORTURE_BROKEN": build, "BROKER_WORKER_BATCHES": "4"},
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("build", "fault", "word"),
    [
        ("without fencing", WORKER_STOPS, Word.STALE_WRITE),
        ("without sweep", WORKER_DIES, Word.LOST),
        ("without commit order", WEB_DIES, Word.NEVER_COMMITTED),
    ],
    ids=["without-fencing", "without-sweep", "without-commit-order"],
)
async def test_a_broken_build_is_caught(kind: str, build: str, fault: Fault, word: Word, tmp_path: Path) -> None:
    report = await torture(scenario(build, fault), kind, tmp_path)
    assert word in report.words, report.problems()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [WORKER_STOPS, WORKER_DIES, WEB_DIES], ids=lambda fault: fault.kind.name.lower())
async def test_the_sound_build_passes_the_same(kind: str, fault: Fault, tmp_path: Path) -> None:
    report = await torture(scenario("", fault), kind, tmp_path)
    assert not report.violations, report.problems()
