"""Pictures of a batch: one fetch for each source, kept as long as a record waits for it and no longer."""

from __future__ import annotations

from pathlib import Path

from broker.batches import Record
from broker.media.blobs import open_blobs
from broker.media.fetch import Fetcher
from broker.net.addresses import Policy
from broker.work.record import Inputs
from tests.no_items import NO_REFERENCES


async def test_a_picture_is_let_go_of_when_its_last_record_has_ended(tmp_path: Path) -> None:
    blobs = open_blobs("", tmp_path)
    await blobs.put("in/a/b/0", b"picture")
    records = {0: Record("1", blob="in/a/b/0"), 1: Record("2", blob="in/a/b/0")}
    fetcher = Fetcher(Policy(), max_bytes=100, timeout=1, pause=0)
    inputs = Inputs(blobs, fetcher, NO_REFERENCES, records, {})
    first = await inputs.get(0)
    inputs.release(0)
    second = await inputs.get(1)
    assert second is first  # fetched once
    inputs.release(1)
    assert await inputs.get(1) is not first  # let go of, so fetched anew
    inputs.close()
    await fetcher.aclose()
