"""Looking at endpoints: one, or a page of them. What another workspace owns does not exist here."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from broker.endpoints import Breaker, Condition
from broker.errors import NotFound
from broker.query import check_page
from broker.secrets import Purpose, Vault
from broker.store.database import Database
from broker.store.endpoint_lists import (
    EndpointFilter,
    StoredEndpoint,
    count_endpoints,
    find_endpoint,
    list_endpoints,
)

_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Standing:
    """How an endpoint stands. url: without its query; pending: deliveries that it is owed, due or held back.

    Times in ms since 1970.
    """

    id: str
    workspace: str
    url: str
    condition: Condition
    breaker: Breaker
    pending: int
    created: int


@dataclass(frozen=True, slots=True)
class EndpointQuery:
    """The use case. `workspaces` are those that the caller may see."""

    database: Database
    vault: Vault

    async def one(self, id: str, workspaces: Collection[str]) -> Standing:
        """Raises NotFound, Unavailable."""
        if not _ID.fullmatch(id):
            raise NotFound()
        async with self.database.reading() as connection:
            found = await find_endpoint(connection, id, workspaces)
        if found is None:
            raise NotFound()
        return self._standing(found)

    async def page(self, which: EndpointFilter, number: int, size: int) -> tuple[int, list[Standing]]:
        """(how many there are, page `number` from 1), newest first. Raises NotFound past the end; page 1 is there."""
        async with self.database.reading() as connection:
            count = await count_endpoints(connection, which)
            check_page(number, size, count)
            found = await list_endpoints(connection, which, (number - 1) * size, size)
        return count, [self._standing(one) for one in found]

    def _standing(self, stored: StoredEndpoint) -> Standing:
        return Standing(
            id=stored.id,
            workspace=stored.workspace,
            url=self.vault.open(Purpose.WEBHOOK_PLACE, stored.place).decode(),
            condition=stored.condition,
            breaker=stored.condition.breaker(stored.now),
            pending=stored.pending,
            created=stored.created,
        )
