"""What lists of the API hold."""

from __future__ import annotations

from typing import Any

from tests.integration.running import Broker


async def ids(broker: Broker, path: str, **options: Any) -> list[str]:
    """Of all that a list holds, which must fit on one page."""
    found = await broker.get(path, **options)
    assert found["count"] == len(found["results"])
    return [item["id"] for item in found["results"]]


async def ids_of_pages(broker: Broker, path: str) -> list[list[str]]:
    """The same for every page of a list, as `next` leads from one to the other; all of them tell how many there are."""
    pages, counts = [], set()
    url: str | None = path
    while url:
        found = await broker.get(url)
        counts.add(found["count"])
        pages.append([item["id"] for item in found["results"]])
        url = found["next"]
    assert counts == {sum(map(len, pages))}
    return pages
