"""What becomes of a webhook that is not sent since all look-ups are taken."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from sqlalchemy import select, update

from broker.net.client import post_client
from broker.net.connect import LOOKUPS_A_DOMAIN
from broker.webhooks.send import Sender
from tests.integration.net.stalling import Stalling
from tests.integration.owed import DELIVERIES, ENDPOINTS, attempt_rows, delivery_row, owe
from tests.integration.receiver import Receiver
from tests.integration.running import Broker, until


async def test_a_try_whose_name_had_no_turn_takes_no_step_of_the_schedule_and_blames_no_endpoint(
    broker: Broker, receiver: Receiver
) -> None:
    core, resolver = broker.core, Stalling()
    port = urlsplit(receiver.url()).port
    urls = [f"http://{label}.evil.test:{port}/" for label in range(LOOKUPS_A_DOMAIN)]
    async with post_client(core.policy, resolver=resolver) as client:
        only_once = Sender(core.database, core.vault, client, (0,), timeout=20)
        async with resolver.stalled(client.post(url, {}, b"", 1) for url in urls):
            await owe(broker, url=f"http://hooks.evil.test:{port}/")
            sending = asyncio.create_task(only_once.run())
            await until(lambda: _tried(broker))
            row = await delivery_row(broker)
            assert (row.state, row.attempts, row.step) == ("pending", 1, 0)
        await broker.store.change(update(DELIVERIES).values(due=0))
        await receiver.posted()
        await until(lambda: _delivered(broker))
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert await attempt_rows(broker) == [(1, False, None, "could not be sent"), (2, False, 200, None)]
    endpoint = await broker.store.row(select(ENDPOINTS))
    assert (endpoint.state, endpoint.failures, endpoint.recent) == ("healthy", 0, "[]")


async def _tried(broker: Broker) -> bool:
    return bool([error for *_, error in await attempt_rows(broker) if error])


async def _delivered(broker: Broker) -> bool:
    return bool((await delivery_row(broker)).state == "delivered")
