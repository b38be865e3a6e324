"""A process that writes groups of batches and says which are stored; run by tests, several at a time.

Arguments: database URL, workspace, groups, bytes a group, largest file in bytes (0 = any), seconds between groups. Each
line it prints is one group: `stored ID` or `refused ID`. It ends at the first refusal.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from broker.batches import NewBatch, new_id
from broker.errors import Unavailable
from broker.store.batches import insert_batches
from broker.store.database import open_database


async def hammer(url: str, workspace: str, groups: int, size: int, pause: float) -> None:
    database = open_database(url, Path())
    for _ in range(groups):
        id = new_id()
        params = f'"{"x" * size}"'
        batch = NewBatch(id, workspace, "ximilar", "upscaler", "upscale_2x", params, "[]", "{}", 1, "")
        try:
            await database.writer.write(insert_batches, batch)
        except Unavailable:
            say("refused", id)
            break
        say("stored", id)
        await asyncio.sleep(pause)
    await database.aclose()


def say(word: str, id: str) -> None:
    sys.stdout.write(f"{word} {id}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    url, workspace, groups, size, largest_file, pause = sys.argv[1:]
    if int(largest_file):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), int(largest_file)))
    asyncio.run(hammer(url, workspace, int(groups), int(size), float(pause)))
