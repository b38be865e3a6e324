"""Looking at deliveries: one with its tries, or a page of them. What another workspace owns does not exist here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from broker.batches import Webhook, is_id
from broker.deliveries import open_target
from broker.errors import NotFound
from broker.query import check_page
from broker.secrets import Purpose, Vault
from broker.store.database import Database
from broker.store.delivery_lists import (
    Attempt,
    DeliveryFilter,
    StoredDelivery,
    attempts_of,
    count_deliveries,
    find_delivery,
    list_deliveries,
)
from broker.webhooks.answers import Answers


@dataclass(frozen=True, slots=True)
class ShownDelivery:
    """How a delivery stands. url: where it goes, without the query, as queries hold secrets."""

    stored: StoredDelivery
    url: str


@dataclass(frozen=True, slots=True)
class ShownTry:
    """One try. response: the beginning of the answer without the customer's secrets; None while it is under way."""

    stored: Attempt
    response: str | None


@dataclass(frozen=True, slots=True)
class DeliveryDetails:
    """A delivery with what it sends and the tries so far. headers: names of the customer's own; values are secrets."""

    shown: ShownDelivery
    headers: tuple[str, ...]
    body: bytes
    tries: Sequence[ShownTry]


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """The use case. `workspaces` are those that the caller may see."""

    database: Database
    vault: Vault
    answers: Answers

    async def details(self, id: str, workspaces: Collection[str]) -> DeliveryDetails:
        """Raises NotFound, Unavailable."""
        if not is_id(id):
            raise NotFound()
        async with self.database.reading() as connection:
            found = await find_delivery(connection, id.lower(), workspaces)
            if found is None:
                raise NotFound()
            stored, content = found
            attempts = await attempts_of(connection, stored.id)
        target = open_target(self.vault, content.target)
        tries = [ShownTry(one, await self._answer(stored.workspace, one.response, target)) for one in attempts]
        return DeliveryDetails(self.shown(stored), tuple(target.headers), content.body, tries)

    async def page(self, which: DeliveryFilter, number: int, size: int) -> tuple[int, list[ShownDelivery]]:
        """(how many there are, page `number` from 1), newest first. Raises NotFound past the end; page 1 is there."""
        async with self.database.reading() as connection:
            count = await count_deliveries(connection, which)
            check_page(number, size, count)
            found = await list_deliveries(connection, which, (number - 1) * size, size)
        return count, [self.shown(one) for one in found]

    async def _answer(self, workspace: str, box: bytes | None, target: Webhook) -> str | None:
        if box is None:
            return None
        answer = self.vault.open(Purpose.WEBHOOK_ANSWER, box)
        return await self.answers.shown(workspace, answer, target.url, target.headers)

    def shown(self, stored: StoredDelivery) -> ShownDelivery:
        """A delivery as it may be shown."""
        return ShownDelivery(stored, self.vault.open(Purpose.WEBHOOK_PLACE, stored.place).decode())
