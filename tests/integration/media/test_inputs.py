"""Pictures that were sent along and cannot be read: only a store that is there may say that one of them is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.batches import Record, new_id
from broker.errors import Unavailable
from broker.media.blobs import Blobs, input_key, open_blobs
from broker.media.fetch import Fetcher
from broker.net.addresses import Policy
from broker.work.record import Inputs
from handlers.contract import RecordError
from tests.no_items import NO_REFERENCES

RECORD = Record("1", blob=input_key(new_id(), new_id(), 0))
SMALL = Record("2", small=True)


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(Policy(), max_bytes=100, timeout=1, pause=0)
    yield fetcher
    await fetcher.aclose()


async def test_a_picture_that_a_store_lacks_is_its_records_answer_and_told(blobs: Blobs, fetcher: Fetcher) -> None:
    with capture_logs() as logs, pytest.raises(RecordError) as refusal:
        await Inputs(blobs, fetcher, NO_REFERENCES, {0: RECORD}, {}).get(0)
    assert refusal.value.code == 410
    assert logs == [{"event": "input.missing", "log_level": "error", "key": RECORD.blob}]


async def test_a_small_picture_that_sql_lacks_is_its_records_answer_and_told(blobs: Blobs, fetcher: Fetcher) -> None:
    with capture_logs() as logs, pytest.raises(RecordError) as refusal:
        await Inputs(blobs, fetcher, NO_REFERENCES, {0: SMALL}, {}).get(0)
    assert refusal.value.code == 410
    assert logs == [{"event": "input.missing", "log_level": "error", "record": "2"}]


@pytest.mark.usefixtures("s3")
async def test_a_bucket_that_does_not_exist_is_no_records_fault(fetcher: Fetcher, tmp_path: Path) -> None:
    """To `get` it looks like one that lacks the key."""
    blobs = open_blobs("s3://no-such-bucket", tmp_path)
    with capture_logs() as logs, pytest.raises(Unavailable):
        await Inputs(blobs, fetcher, NO_REFERENCES, {0: RECORD}, {}).get(0)
    assert logs == []
