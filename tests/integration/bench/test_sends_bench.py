"""The bench of the webhook client runs and prints its table; it fails where a receiver does not take what is sent."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.sends import rate_of

ROOT = Path(__file__).parents[3]
RATES = r"\ +[1-9][\d,]*\ +[1-9][\d,]*\n"
TABLE = re.compile(
    rf"""sends/s:\ \d+\ cores,\ 1\ x\ 0\.3\ s\n
    \ +4\ at\ once\ +32\ at\ once\n
    httpx\ alone{RATES}our\ client\ alone{RATES}a\ try\ of\ ours{RATES}""",
    re.VERBOSE,
)


def test_a_short_run_prints_the_table() -> None:
    command = [sys.executable, "-m", "bench.sends", "--seconds", "0.3", "--rounds", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert TABLE.fullmatch(run.stdout), run.stdout


async def test_what_is_not_taken_is_no_send() -> None:
    async def refused() -> int:
        return 503

    with pytest.raises(RuntimeError, match="were not taken"):
        await rate_of(refused, 1, 0.01)
