"""A real worker's sender before a receiver that misbehaves: what is recorded of its tries, and that it hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Row, select

from broker.store.tables import AttemptRow, DeliveryRow, table
from tests.integration.net.tcp import Behaviour
from tests.integration.running import Broker, until
from tests.integration.trap import Trap

_deliveries, _attempts = table(DeliveryRow), table(AttemptRow)

NO_IMAGE = {"_base64": "aGVsbG8="}
"""A record that is done as soon as it is looked at."""

Try: TypeAlias = tuple[str, int | None, str | None]
"""The state of a delivery in the end, and the status and the error of an attempt at it, as they are recorded."""

OK: Sequence[Try] = [("delivered", 200, None)]
TIMEOUT: Sequence[Try] = [("exhausted", None, "timeout")]
INVALID: Sequence[Try] = [("exhausted", None, "invalid answer")]
LOST: Sequence[Try] = [("exhausted", None, "connection lost")]
NO_TLS: Sequence[Try] = [("exhausted", None, "TLS handshake failed")]


async def announce(broker: Broker, url: str) -> str:
    """The id of a batch that will be announced to `url`."""
    accepted = await broker.post({"type": "upscaler", "records": [NO_IMAGE], "webhook": {"endpoint": url}})
    return str(accepted["id"])


async def attempts(broker: Broker, batch: str) -> Sequence[Row[Any]]:
    """Those of a batch's delivery, once no other follows."""
    ended = (
        select(_attempts, _deliveries.c.state)
        .join(_deliveries, _attempts.c.delivery_id == _deliveries.c.id)
        .where(_deliveries.c.batch_id == batch, _deliveries.c.state != "pending")
        .order_by(_attempts.c.number)
    )
    return await until(lambda: broker.store.rows(ended))


def tries(rows: Sequence[Row[Any]]) -> Sequence[Try]:
    """What came of them, once: one that died within a second, which depends on the machine, is repeated at once."""
    found = [(row.state, row.status_code, row.error) for row in rows]
    return found[:1] if found == found[:1] * 2 else found


async def faced(broker: Broker, behave: Behaviour, scheme: str = "http") -> Sequence[Row[Any]]:
    """The attempts at one such receiver. Fails unless the sender has hung up on it afterwards."""
    async with Trap(behave, scheme).listen() as trap:
        rows = await attempts(broker, await announce(broker, trap.url()))
        await trap.left()
    assert str(trap.port) not in str(tries(rows))
    return rows


async def all_faced(
    broker: Broker, receivers: Mapping[str, Behaviour], scheme: str = "http"
) -> Mapping[str, Sequence[Row[Any]]]:
    """The same of many at once."""
    found = await asyncio.gather(*(faced(broker, behave, scheme) for behave in receivers.values()))
    return dict(zip(receivers, found, strict=True))


def outcomes(found: Mapping[str, Sequence[Row[Any]]]) -> Mapping[str, Sequence[Try]]:
    return {name: tries(rows) for name, rows in found.items()}
