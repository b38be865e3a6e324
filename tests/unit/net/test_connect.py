"""How many names are looked up at once, and for how long."""

from __future__ import annotations

from broker.net.connect import CONNECT_SECONDS, LOOKUP_SECONDS, LOOKUP_THREADS, LOOKUPS_A_DOMAIN, TURN_SECONDS
from broker.webhooks.lanes import SLOTS, UNPROVEN

RESOLVER_SECONDS = 10.0
"""How long a look-up may stall where the operator has set nothing: 2 tries at each of 3 silent name servers."""


def test_the_limits_are_those_that_the_documentation_names() -> None:
    assert (TURN_SECONDS, LOOKUP_SECONDS, CONNECT_SECONDS) == (5.0, 5.0, 10.0)
    assert (LOOKUP_THREADS, LOOKUPS_A_DOMAIN) == (512, 8)


def test_endpoints_that_do_not_answer_cannot_stall_every_lookup() -> None:
    """A try gives up before its look-up does, and the next one in its slot begins another."""
    assert LOOKUP_THREADS >= UNPROVEN * SLOTS * RESOLVER_SECONDS / LOOKUP_SECONDS
