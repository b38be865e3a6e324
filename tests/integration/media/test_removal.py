"""Removing all blobs of a batch, or of some of its claims, over each kind of store."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from broker.batches import new_id
from broker.errors import Unavailable
from broker.media.blobs import BLOBS_FOLDER, Blobs, input_key, open_blobs, output_key
from tests.integration.stores import there


async def fill(blobs: Blobs, workspace: str, batch: str, claims: int = 2) -> list[str]:
    """The keys of two inputs and, for each claim, of two outputs."""
    keys = [input_key(workspace, batch, place) for place in range(2)]
    keys += [output_key(workspace, batch, seq, place, "a.jpg") for seq in range(1, claims + 1) for place in range(2)]
    for key in keys:
        await blobs.put(key, b"picture")
    return keys


async def listed(blobs: Blobs) -> list[str]:
    return [key async for page in blobs.batch_keys() for key in page]


async def test_a_batch_s_blobs_go_together_and_no_others(blobs: Blobs) -> None:
    workspace, batch = new_id(), new_id()
    gone = await fill(blobs, workspace, batch)
    kept = await fill(blobs, workspace, new_id()) + await fill(blobs, new_id(), batch)
    await blobs.put(f"in/{workspace}/{batch}0/0", b"a name that begins alike")
    for _ in range(2):
        await blobs.remove_batch(workspace, batch)
    assert await there(blobs, *gone) == []
    assert await there(blobs, *kept) == kept
    assert await there(blobs, f"in/{workspace}/{batch}0/0")


async def test_inputs_go_without_outputs(blobs: Blobs) -> None:
    workspace, batch = new_id(), new_id()
    keys = await fill(blobs, workspace, batch)
    await blobs.remove_inputs(workspace, batch)
    assert await there(blobs, *keys) == [key for key in keys if key.startswith("out/")]


async def test_outputs_of_a_later_claim_stay(blobs: Blobs) -> None:
    workspace, batch = new_id(), new_id()
    keys = await fill(blobs, workspace, batch, claims=11)
    await blobs.remove_outputs(workspace, batch, 9)
    expected = [key for key in keys if key.startswith("in/") or key.split("/")[3] in {"10", "11"}]
    assert await there(blobs, *keys) == expected


async def test_what_is_not_there_is_removed(blobs: Blobs) -> None:
    await blobs.remove_batch(new_id(), new_id())
    await blobs.remove_inputs(new_id(), new_id())
    await blobs.remove_outputs(new_id(), new_id(), 5)


async def test_two_removals_at_once_both_succeed(blobs: Blobs) -> None:
    workspace, batch = new_id(), new_id()
    keys = await fill(blobs, workspace, batch, claims=20)
    await asyncio.gather(*[blobs.remove_batch(workspace, batch) for _ in range(4)])
    assert await there(blobs, *keys) == []


async def test_keys_are_listed_up_to_their_batch(blobs: Blobs) -> None:
    workspace, others = new_id(), [new_id() for _ in range(3)]
    for batch in others:
        await fill(blobs, workspace, batch)
    await blobs.put("in/stray", b"x")
    expected = [f"{area}/{workspace}/{batch}" for area in ("in", "out") for batch in others] + ["in/stray"]
    assert sorted(await listed(blobs)) == sorted(expected)


async def test_an_empty_store_lists_nothing(blobs: Blobs) -> None:
    assert await listed(blobs) == []


async def test_many_keys_are_listed_in_pages_each_once(tmp_path: Path) -> None:
    workspace, ids = new_id(), [new_id() for _ in range(2500)]
    for blobs in (open_blobs("", tmp_path), open_blobs("memory://", tmp_path)):
        if blobs.folder is not None:
            for batch in ids:
                (blobs.folder / "in" / workspace / batch).mkdir(parents=True)
        else:
            await asyncio.gather(
                *[blobs.put(input_key(workspace, batch, place), b"x") for batch in ids for place in (0, 1)]
            )
        pages = [page async for page in blobs.batch_keys()]
        assert len(pages) > 1
        assert max(len(page) for page in pages) <= 1000
        assert sorted(key for page in pages for key in page) == sorted(f"in/{workspace}/{batch}" for batch in ids)


async def test_no_empty_folder_of_a_batch_is_left_on_disk(tmp_path: Path) -> None:
    blobs, root = open_blobs("", tmp_path), tmp_path / BLOBS_FOLDER
    workspace, first, second = new_id(), new_id(), new_id()
    await fill(blobs, workspace, first)
    await fill(blobs, workspace, second)
    await blobs.remove_batch(workspace, first)
    await blobs.remove_inputs(workspace, second)
    await blobs.remove_outputs(workspace, second, 2)
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == sorted(
        ["in", "out", f"in/{workspace}", f"out/{workspace}"]
    )


async def test_a_put_does_not_fail_because_an_emptied_folder_is_removed(tmp_path: Path) -> None:
    blobs, workspace, batch = open_blobs("", tmp_path), new_id(), new_id()

    async def remove_first() -> None:
        while True:
            await blobs.remove_outputs(workspace, batch, 1)

    removing = [asyncio.create_task(remove_first()) for _ in range(2)]
    for seq in range(2, 100):
        key = output_key(workspace, batch, seq, 0, "a.jpg")
        await blobs.put(key, b"picture")
        assert await blobs.get(key) == b"picture"
        await blobs.remove_outputs(workspace, batch, seq)
    for task in removing:
        task.cancel()
    await asyncio.wait(removing)
    assert all(task.cancelled() for task in removing)


async def test_a_disk_that_is_away_is_no_empty_one(tmp_path: Path) -> None:
    blobs, root = open_blobs("", tmp_path), tmp_path / BLOBS_FOLDER
    root.rename(tmp_path / "away")
    for attempt in (blobs.remove_batch("w", "b"), blobs.remove_outputs("w", "b", 1), listed(blobs)):
        with pytest.raises(Unavailable):
            await attempt


async def test_a_folder_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    blobs, root = open_blobs("", tmp_path), tmp_path / BLOBS_FOLDER
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"precious")
    (root / "in" / "w").mkdir(parents=True)
    (root / "in" / "w" / "b").symlink_to(elsewhere)
    with pytest.raises(Unavailable):
        await blobs.remove_inputs("w", "b")
    assert (elsewhere / "file").read_bytes() == b"precious"


async def test_drafts_of_puts_that_were_cut_off_go_when_they_are_old(tmp_path: Path) -> None:
    blobs, root = open_blobs("", tmp_path), tmp_path / BLOBS_FOLDER
    workspace, batch = new_id(), new_id()
    keys = await fill(blobs, workspace, batch)
    old: list[Path] = []
    young: list[Path] = []
    for place, key in enumerate(keys):
        path = root / key
        for drafts, age in ((old, 3700), (young, 3500)):
            draft = path.with_name(f".{path.name}.{place + age:016x}")
            draft.write_bytes(b"half a pict")
            os.utime(draft, (time.time() - age, time.time() - age))
            drafts.append(draft)
        os.utime(path, (1, 1))
    prefixes = [f"in/{workspace}/{batch}", f"out/{workspace}/{batch}", f"out/{workspace}/{new_id()}"]
    assert await blobs.remove_drafts(prefixes, 3600) == len(old)
    assert not any(draft.exists() for draft in old)
    assert all(draft.exists() for draft in young)
    assert await there(blobs, *keys) == keys
