"""`make torture-proof`: on both databases, each broken build is caught and the sound build passes the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import KINDS
from tests.torture.builds import BUILDS, Build, scenario
from tests.torture.run import torture

pytestmark = [
    pytest.mark.parametrize("kind", KINDS),
    pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name),
]


async def test_the_broken_build_is_caught(build: Build, kind: str, tmp_path: Path) -> None:
    report = await torture(scenario(build.fault, build.name), kind, tmp_path)
    assert build.word in report.words, report.problems()


async def test_the_sound_build_passes(build: Build, kind: str, tmp_path: Path) -> None:
    report = await torture(scenario(build.fault), kind, tmp_path)
    assert not report.violations, report.problems()
