"""Leases and due times come from the database's clock alone: nothing in `broker/store` asks a process for the date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STORE = Path(__file__).parents[2] / "broker" / "store"
# `time.monotonic` tells a span, and no date that could be stored. Ids have a date, and are made in `broker/batches.py`.
DATE = re.compile(
    r"(?<![.\w])time\.(?!monotonic\(\))\w+|\bfrom time import|\bimport time as|\bdatetime\b"
    r"|\bst_[amc]time|\bfunc\.(now|current_\w+)|\bCURRENT_TIME"
)


def test_the_store_reads_no_clock_but_the_databases() -> None:
    read = {
        str(file.relative_to(STORE)): found
        for file in STORE.rglob("*.py")
        if (found := [match[0] for match in DATE.finditer(file.read_text())])
    }
    assert read == {}


@pytest.mark.parametrize(
    "line",
    [
        "due = time.time() + 5",
        "from time import time",
        "import time as clock",
        "datetime.now(UTC)",
        "file.stat().st_mtime",
        "func.now()",
        "text('CURRENT_TIMESTAMP')",
    ],
)
def test_a_line_that_reads_another_clock_is_seen(line: str) -> None:
    assert DATE.search(line)


@pytest.mark.parametrize(
    "line", ["time.monotonic()", "self._loop.time()", "for a long time.", "db_now() + 5", "import time"]
)
def test_a_line_that_tells_a_span_or_asks_the_database_is_none(line: str) -> None:
    assert not DATE.search(line)
