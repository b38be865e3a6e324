"""The accept bench runs, prints its table, and every POST that it counts is a row."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NUMBER = r"[\d,]+\.\d"
TABLE = re.compile(
    rf"""accept:\ (?P<database>\w+).*,\ 4\ connections,\ 1\ x\ 0\.5\ s\n
    \ +bare\ +full\ +ratio\ +target\n
    POST/s\ +{NUMBER}\ +{NUMBER}\ +\d+\.\d\d\ +at\ least\ 0\.\d\d\ +(ok|short)\n
    p50\ ms\ +{NUMBER}\ +{NUMBER}\ +\d+\.\d\d\n
    p99\ ms\ +{NUMBER}\ +{NUMBER}\ +\d+\.\d\d\ +at\ most\ 4\.00\ +(ok|short)\n
    accepted\ (?P<accepted>\d+),\ refused\ (?P<refused>\d+),\ rows\ (?P<rows>\d+):\ (?P<books>ok|short)\n""",
    re.VERBOSE,
)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_short_run_prints_the_table_and_every_accepted_post_is_a_row(database: str) -> None:
    options = ["--database", database, "--seconds", "0.5", "--rounds", "1", "--connections", "4"]
    run = subprocess.run(
        [sys.executable, "-m", "bench.accept", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    found = TABLE.fullmatch(run.stdout)
    assert found, run.stdout
    assert found["database"] == database
    assert int(found["accepted"]) == int(found["rows"]) > 0
    assert found["refused"] == "0"
    assert found["books"] == "ok"
