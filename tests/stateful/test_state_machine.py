"""No order of steps breaks a promise: random interleavings of all that happens to batches, on the real store.

The examples are the same in every run. STATEFUL_EXAMPLES asks for that many others, and for the shortest that fails.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import BatchMachine
from tests.stateful.world import World

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "0"))
SHORT = settings(max_examples=25, stateful_step_count=60, derandomize=True, phases=[Phase.generate])
LONG = settings(max_examples=max(EXAMPLES, 1), stateful_step_count=60, phases=[Phase.generate, Phase.shrink])


def test_no_interleaving_breaks_a_promise(database_url: str, tmp_path: Path) -> None:
    """Several workers, customers, sweepers and senders; the promises are those of section 3 of the design."""
    profile = settings(
        LONG if EXAMPLES else SHORT,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    with World(database_url, tmp_path) as opened:

        class Machine(BatchMachine):
            world = opened

        run_state_machine_as_test(Machine, settings=profile)
