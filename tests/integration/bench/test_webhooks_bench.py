"""The webhooks bench runs, prints its table, and every webhook that it counts has arrived."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
NUMBER = r"[\d,]+\.\d"
TABLE = re.compile(
    rf"""webhooks:\ 8\ endpoints,.*,\ 4\ batches/s,\ 1\ x\ 3\ s;.*while\ 4\ hang.*\n
    \ +answering\ +hanging\ +ratio\ +target\n
    p50\ ms\ +{NUMBER}\ +{NUMBER}\ +\d+\.\d\d\n
    p99\ ms\ +{NUMBER}\ +{NUMBER}\ +\d+\.\d\d\ +at\ most\ 2\.00\ +(ok|short)\n
    owed\ (?P<owed>\d+),\ arrived\ (?P<arrived>\d+):\ ok\n""",
    re.VERBOSE,
)


def test_a_short_run_prints_the_table_and_every_webhook_has_arrived() -> None:
    options = ["--seconds", "3", "--rounds", "1", "--per-second", "4", "--endpoints", "8", "--hanging", "4"]
    run = subprocess.run(
        [sys.executable, "-m", "bench.webhooks", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found = TABLE.fullmatch(run.stdout)
    assert found, run.stdout
    assert 12 < int(found["owed"]) < 24  # all of the first half, about half of the second
