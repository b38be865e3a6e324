"""What a process sets for its look-ups before the first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BEGIN = """
import os
from broker.cli.processes import begin
begin()
print(os.environ["RES_OPTIONS"])
"""


@pytest.mark.parametrize(("given", "used"), [(None, "timeout:2 attempts:2"), ("timeout:3", "timeout:3")])
def test_lookups_stall_for_seconds_only_unless_the_operator_has_set_how_long(given: str | None, used: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RES_OPTIONS"}
    if given:
        environment["RES_OPTIONS"] = given
    done = subprocess.run([sys.executable, "-c", BEGIN], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == used
