"""The options of our own POSTs about deliveries."""

from __future__ import annotations

from pydantic import Field

from broker.api.delivery_wire import LostWord
from broker.api.moments import LATEST, Moment
from broker.api.own_options import Options


def _now() -> int:
    """Whatever is yet to come counts as now."""
    return LATEST


class BulkReplayOptions(Options):
    """Which deliveries are sent again."""

    what: LostWord = Field(
        description="`failed`: all their tries failed, or the receiver wanted no more. `missing`: they ended without "
        "a try, as their endpoint was disabled. Required, here or in the query."
    )
    since: Moment = Field(
        description="Deliveries that are owed since then or later: ISO 8601 with a zone, or ms since 1970. Required, "
        "here or in the query."
    )
    until: Moment = Field(default_factory=_now, description="And since then or earlier; default: now.")
    endpoint: str | None = Field(None, description="Only those that go to this endpoint.")
