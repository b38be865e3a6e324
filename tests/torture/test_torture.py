"""Everything at once: nothing is lost, doubled or overwritten under kills, stops, restarts, cuts and full disks.

The seeds are fixed, so that a failure here is no matter of luck; TORTURE_SEED and TORTURE_SECONDS ask for another run.
Every run prints its seed, its faults and a table; `make torture` is this file with a longer run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.databases import KINDS
from tests.torture.load import Pace
from tests.torture.plan import SHORT_SECONDS, SHORT_SEED, random_plan
from tests.torture.run import Scenario, torture

SECONDS = float(os.environ.get("TORTURE_SECONDS", SHORT_SECONDS))
SEEDS = (int(os.environ.get("TORTURE_SEED", SHORT_SEED)),)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_lost(kind: str, seed: int, tmp_path: Path) -> None:
    plan = random_plan(seed, SECONDS, kind)
    say(f"\n{kind}, seed {seed}, {SECONDS:g} s, {len(plan)} faults; logs in {tmp_path}", *map(str, plan))
    pace = Pace(
        open=max(200, int(4 * SECONDS))
    )  # a long run may end with a long queue, which a short one has no time for
    report = await torture(Scenario(seed, SECONDS, pace=pace), kind, tmp_path)
    say(report.table())
    if report.violations:
        pytest.fail(f"seed {seed}, logs in {tmp_path}\n{report.problems()}", pytrace=False)


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
