"""Who gets the slots of a process that has few left: what is due and what is held, in turns."""

from __future__ import annotations

import asyncio

from broker.net.client import post_client
from broker.webhooks.lanes import SLOTS
from broker.webhooks.send import Sender
from tests.integration.owed import change_endpoint, owe
from tests.integration.receiver import Receiver
from tests.integration.running import Broker


async def test_what_is_held_does_not_wait_in_a_busy_process_until_nothing_new_is_due(
    broker: Broker, receiver: Receiver
) -> None:
    await owe(broker, 2, url=receiver.url("/held"), due=None, held=1)
    await change_endpoint(broker, receiver.url("/held"), holding=True)

    async def owe_one_more() -> None:
        await owe(broker, url=receiver.url("/due"))

    receiver.on_post = owe_one_more
    await owe_one_more()
    async with post_client(broker.core.policy) as client:
        sender = Sender(broker.core.database, broker.core.vault, client, (0, 0), timeout=20)
        leave_one_slot(sender)
        sending = asyncio.create_task(sender.run())
        posts = await receiver.posted(2)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await sender.drain(5)
    assert {post.target for post in posts} == {"/held", "/due"}


def leave_one_slot(sender: Sender) -> None:
    """Others that answered once have a try under way each."""
    for other in range(SLOTS - 1):
        where = (f"endpoint {other}", f"origin {other}", f"workspace {other}")
        sender._lanes.begin(*where)
        sender._lanes.end(*where, (200, 0.1))
        sender._lanes.begin(*where)
