"""Accepting looks no name up: a customer's name servers could stall it.

On SQLite alone: no database has a part in it.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.integration.running import Broker


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_submission_asks_for_none_of_its_names(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def noting(host: Any, *args: Any, **options: Any) -> Any:
        asked.append(str(host))
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noting)
    names = [f"{part}.customer.invalid" for part in ("image", "hook")]
    image, hook = (f"http://{name}/" for name in names)
    await broker.post({"type": "upscaler", "records": [{"_url": image}], "webhook": {"endpoint": hook}})
    assert not set(names) & set(asked)
