"""Blobs over each kind of store: a folder on disk, obstore's memory, and S3 over HTTP."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from broker.batches import new_id
from broker.errors import Misconfigured, NotFound, Unavailable
from broker.media.blobs import BLOBS_FOLDER, Blobs, input_key, open_blobs, output_key
from tests.integration.stores import BUCKET


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 4096], ids=["empty", "one_byte", "a_megabyte"])
async def test_a_blob_comes_back_as_it_was_put(blobs: Blobs, data: bytes) -> None:
    for key in (input_key(new_id(), new_id(), 3), output_key(new_id(), new_id(), 2, 0, "upscaled-2x_a.b.jpg")):
        await blobs.put(key, data)
        assert await blobs.get(key) == data


async def test_blobs_do_not_mix(blobs: Blobs) -> None:
    workspace, batch = new_id(), new_id()
    keys = [output_key(workspace, batch, seq, record, "a.png") for seq in range(1, 4) for record in range(10)]
    await asyncio.gather(*[blobs.put(key, key.encode()) for key in keys])
    assert await asyncio.gather(*[blobs.get(key) for key in keys]) == [key.encode() for key in keys]


async def test_a_blob_that_is_put_again_is_whole(blobs: Blobs) -> None:
    key = input_key(new_id(), new_id(), 0)
    await asyncio.gather(*[blobs.put(key, b"same bytes" * 1000) for _ in range(5)])
    assert await blobs.get(key) == b"same bytes" * 1000


async def test_a_missing_blob_is_not_found(blobs: Blobs) -> None:
    workspace, batch = new_id(), new_id()
    await blobs.put(input_key(workspace, batch, 0), b"x")
    for key in (input_key(workspace, batch, 1), input_key(workspace, new_id(), 0), "out/nothing"):
        with pytest.raises(NotFound):
            await blobs.get(key)


async def test_a_removed_blob_is_gone_and_may_be_removed_again(blobs: Blobs) -> None:
    workspace, batch = new_id(), new_id()
    keep, drop = input_key(workspace, batch, 0), input_key(workspace, batch, 1)
    await blobs.put(keep, b"keep")
    await blobs.put(drop, b"drop")
    for _ in range(2):
        await blobs.remove(drop)
    with pytest.raises(NotFound):
        await blobs.get(drop)
    assert await blobs.get(keep) == b"keep"


async def test_a_store_that_is_there_answers_a_ping(blobs: Blobs) -> None:
    await blobs.ping()
    await blobs.put("in/a", b"x")
    await blobs.ping()


async def test_only_blobs_on_this_disk_have_a_folder(tmp_path: Path) -> None:
    assert open_blobs("", tmp_path).folder == tmp_path / BLOBS_FOLDER
    assert open_blobs(f"file://{tmp_path}/other", tmp_path).folder == tmp_path / "other"
    assert open_blobs("memory://", tmp_path).folder is None


@pytest.mark.usefixtures("s3")
async def test_a_bucket_that_does_not_exist_is_unavailable(tmp_path: Path) -> None:
    blobs = open_blobs("s3://no-such-bucket", tmp_path)
    with pytest.raises(Unavailable):
        await blobs.ping()
    with pytest.raises(Unavailable):
        await blobs.put("in/a", b"x")


async def test_a_store_that_went_away_is_unavailable_before_long(s3: ThreadedMotoServer, tmp_path: Path) -> None:
    blobs = open_blobs(f"s3://{BUCKET}", tmp_path)
    await blobs.put("in/a", b"x")
    s3.stop()
    async with asyncio.timeout(60):
        for attempt in (blobs.ping(), blobs.put("in/b", b"x"), blobs.get("in/a"), blobs.remove("in/a")):
            with pytest.raises(Unavailable):
                await attempt


async def test_a_put_does_not_make_a_folder_that_went_away_anew(tmp_path: Path) -> None:
    blobs = open_blobs("", tmp_path)
    (tmp_path / BLOBS_FOLDER).rmdir()
    with pytest.raises(Unavailable):
        await blobs.put("in/a/b/0", b"picture")
    assert not (tmp_path / BLOBS_FOLDER).exists()


async def test_a_folder_that_went_away_is_unavailable(tmp_path: Path) -> None:
    blobs = open_blobs("", tmp_path)
    await blobs.ping()
    shutil.rmtree(tmp_path / BLOBS_FOLDER)
    with pytest.raises(Unavailable):
        await blobs.ping()


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "s3://", "az://container"])
def test_a_url_that_is_no_store_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="BROKER_BLOBS_URL"):
        open_blobs(url, tmp_path)
