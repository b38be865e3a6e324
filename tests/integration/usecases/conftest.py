"""A broker without workers, and the parts of another process on the same database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker.bootstrap.web import open_web
from tests.integration.running import Broker, Store
from tests.integration.usecases.scene import Scene


@pytest.fixture
def scene(broker: Broker) -> Scene:
    return Scene(broker)


@pytest.fixture
async def second(broker: Broker) -> AsyncIterator[Scene]:
    """The same batches as another process sees and moves them: with connections and a writer of its own."""
    async with open_web(broker.core.settings) as web:
        yield Scene(replace(broker, web=web, store=Store(web.core)))
