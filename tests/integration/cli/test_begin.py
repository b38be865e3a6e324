"""What a process sets before it begins to serve or work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

FEW = 256
BEGIN = f"""
import os, resource
from broker.cli.processes import FILES, begin
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW}, HARD or hard))
begin()
print(os.environ["RES_OPTIONS"])
print(*resource.getrlimit(resource.RLIMIT_NOFILE), hard, FILES)
"""


def begun(environment: Mapping[str, str], hard: int | None = None) -> list[str]:
    """What a process prints that begins with few open files. hard: the most that it may ask for."""
    clean = {name: value for name, value in os.environ.items() if name != "RES_OPTIONS"}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN.replace("HARD", str(hard))],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-2:]


@pytest.mark.parametrize(("given", "used"), [(None, "timeout:2 attempts:2"), ("timeout:3", "timeout:3")])
def test_lookups_stall_for_seconds_only_unless_the_operator_has_set_how_long(given: str | None, used: str) -> None:
    environment = {"RES_OPTIONS": given} if given else {}
    assert begun(environment)[0] == used


def test_a_process_may_open_as_many_files_as_it_needs_where_the_system_allows_it() -> None:
    soft, hard, system, files = map(int, begun({})[1].split())
    assert (soft, hard) == (min(files, system), system)
    assert begun({}, hard=FEW + 1)[1].split()[:2] == [str(FEW + 1)] * 2
