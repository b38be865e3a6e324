"""The checker: all violations that the evidence of a run shows."""

from __future__ import annotations

from tests.torture.check_batches import check_accepted
from tests.torture.check_crashes import check_crashes
from tests.torture.check_exits import check_exits
from tests.torture.check_history import check_history
from tests.torture.check_results import check_results
from tests.torture.check_tries import check_tries
from tests.torture.check_webhooks import check_duplicates, check_events, check_webhooks
from tests.torture.evidence import Evidence
from tests.torture.violations import Violation

CHECKS = (
    *(check_accepted, check_results, check_events, check_webhooks, check_duplicates, check_tries),
    *(check_history, check_exits, check_crashes),
)


def check(evidence: Evidence) -> list[Violation]:
    """Every violation, in the order of the checks."""
    return [found for one in CHECKS for found in one(evidence)]
