"""How many names are looked up at once, and for how long."""

from __future__ import annotations

from typing import Any

import httpcore
import pytest

from broker.net.addresses import Policy
from broker.net.connect import (
    CONNECT_SECONDS,
    LOOKUP_SECONDS,
    LOOKUP_THREADS,
    LOOKUPS_A_DOMAIN,
    MAX_ADDRESSES,
    TURN_SECONDS,
    Guard,
)
from broker.net.guard import KEEPALIVE_SECONDS
from broker.net.proxy import Limits
from broker.webhooks.lanes import SLOTS, UNPROVEN

RESOLVER_SECONDS = 10.0
"""How long a look-up may stall where the operator has set nothing: 2 tries at each of 3 silent name servers."""


def test_the_limits_are_those_that_the_documentation_names() -> None:
    assert (TURN_SECONDS, LOOKUP_SECONDS, CONNECT_SECONDS) == (5.0, 5.0, 10.0)
    assert (LOOKUP_THREADS, LOOKUPS_A_DOMAIN) == (512, 8)
    assert KEEPALIVE_SECONDS == 5.0
    assert Limits() == Limits(head=10.0, connect=10.0, idle=60.0, total=900.0)


async def test_addresses_that_do_not_answer_share_the_time_so_that_the_last_one_has_some_left() -> None:
    guard = Guard(Policy(), lambda host, port: [f"93.184.216.{number}" for number in range(MAX_ADDRESSES + 1)])
    dialled: list[tuple[str, float | None]] = []

    async def dial(address: str, timeout: float | None) -> tuple[Any, str | None]:
        dialled.append((address, timeout))
        raise httpcore.ConnectTimeout

    with pytest.raises(httpcore.ConnectTimeout):
        await guard.connect("dead.example.com", 443, dial, 9.0)
    guard.close()
    assert dialled == [(f"93.184.216.{number}", 3.0) for number in range(MAX_ADDRESSES)]


def test_endpoints_that_do_not_answer_cannot_stall_every_lookup() -> None:
    """A try gives up before its look-up does, and the next one in its slot begins another."""
    assert LOOKUP_THREADS >= UNPROVEN * SLOTS * RESOLVER_SECONDS / LOOKUP_SECONDS
