"""What every process has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from broker.bootstrap.outgoing import check_operator_webhook, policy_of
from broker.foundation import open_foundation
from broker.media.blobs import Blobs, open_blobs
from broker.media.links import Links
from broker.net.addresses import Policy
from broker.net.urls import check_url
from broker.queue.bell import DoneBell
from broker.queue.nudge import Nudger
from broker.secrets import Vault
from broker.settings import Settings
from broker.store.database import Database
from handlers.registry import Registry


@dataclass(frozen=True, slots=True)
class Core:
    """What every process has."""

    settings: Settings
    registry: Registry
    database: Database
    vault: Vault
    blobs: Blobs
    links: Links
    nudger: Nudger
    bell: DoneBell
    policy: Policy

    def check_url(self, url: str) -> None:
        """Raises Invalid, with a text for the customer, for a URL that the broker would never use."""
        check_url(url, self.policy)


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Open what every process needs; closed in reverse order. Raises Misconfigured."""
    check_operator_webhook(settings)
    async with AsyncExitStack() as stack:
        foundation = await stack.enter_async_context(open_foundation(settings))
        nudger = Nudger(settings.redis_url or None)
        stack.push_async_callback(nudger.aclose)
        await nudger.start()
        bell = DoneBell(settings.redis_url or None)
        stack.push_async_callback(bell.aclose)
        await bell.start()
        yield Core(
            settings=settings,
            registry=Registry.installed(),
            database=foundation.database,
            vault=foundation.vault,
            blobs=open_blobs(settings.blobs_url, settings.data_dir),
            links=Links(foundation.vault, settings.public_url, settings.output_hours),
            nudger=nudger,
            bell=bell,
            policy=policy_of(settings),
        )
