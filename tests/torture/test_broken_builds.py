"""The test of the test: a broker that lacks one of its safeguards is caught, by the name of what it breaks.

`make torture-proof` shows the same on PostgreSQL, and that the sound build passes under the same faults.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.builds import BUILDS, Build, scenario
from tests.torture.run import torture


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
async def test_a_broken_build_is_caught(build: Build, tmp_path: Path) -> None:
    report = await torture(scenario(build.fault, build.name), "sqlite", tmp_path)
    assert build.word in report.words, report.problems()
