"""Sources that do not give a picture: that record says why, the others go on.

On SQLite alone: what the answers to a download are stored in has no part in them.
"""

from __future__ import annotations

import asyncio
import base64

import pytest
from sqlalchemy import select

from broker.accept import SMALL_PICTURE
from broker.store.tables import BatchRow, PictureRow, table
from tests.integration.net.servers import Web, not_heard, redirect, reply, stall
from tests.integration.running import Broker, StartWorker, Worker, as_blob, in_base64, photograph

GOOD = {"_base64": in_base64(photograph("chelsea-face.webp"))}
LARGE = as_blob(photograph("chelsea-face.webp"))
_pictures = table(PictureRow)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>'


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def outcome(broker: Broker) -> str:
    return str((await broker.store.row(select(table(BatchRow).c.outcome))).outcome)


async def test_each_bad_source_is_its_own_records_answer(
    broker: Broker, start_worker: StartWorker, images: Web
) -> None:
    coffee = photograph("coffee.jpg")
    images.answers |= {
        "/500": [reply(500)],
        "/403": [reply(403)],
        "/429": [reply(429)],
        "/empty": [reply(200)],
        "/text": [reply(200, b"<html>no picture</html>", {"Content-Type": "image/jpeg"})],
        "/svg": [reply(200, SVG)],
        "/cut": [reply(200, coffee[: len(coffee) // 2])],
        "/broken": [reply(200, coffee, {"Content-Length": str(len(coffee) + 100)})],
        "/huge": [reply(200, bytes(200_001))],
        "/private": [redirect("http://10.0.0.7/x")],
        "/circle": [redirect("/circle")],
    }
    codes = {
        "/missing": 404,
        "/403": 403,
        "/500": 502,
        "/429": 502,
        "/empty": 400,
        "/text": 415,
        "/svg": 415,
        "/cut": 400,
        "/broken": 502,
        "/huge": 413,
        "/private": 403,
        "/circle": 400,
    }
    await start_worker(max_image_bytes=200_000)
    for targets in (list(codes)[:6], list(codes)[6:]):
        records = await broker.run("upscaler", GOOD, *({"_url": images.url(target)} for target in targets), GOOD)
        shown = {target: record["_status"]["code"] for target, record in zip(targets, records[1:-1], strict=True)}
        assert shown == {target: codes[target] for target in targets}
        for record in records[1:-1]:
            assert set(record) == {"_id", "_url", "_status"}
            assert 5 < len(record["_status"]["text"]) < 200
            assert "10.0.0.7" not in record["_status"]["text"]
            assert "Error" not in record["_status"]["text"]
        assert [records[place]["_status"]["code"] for place in (0, -1)] == [200, 200]


async def test_small_pictures_lie_in_sql_and_larger_ones_are_blobs(broker: Broker, start_worker: StartWorker) -> None:
    small = photograph("chelsea-face.webp")
    pictures = [small, small + bytes(SMALL_PICTURE - len(small)), small + bytes(SMALL_PICTURE + 1 - len(small))]
    await start_worker()
    records = await broker.run("upscaler", *({"_base64": base64.b64encode(one).decode()} for one in pictures))
    assert [record["_status"]["code"] for record in records] == [200] * 3
    kept = await broker.store.rows(select(_pictures.c.position, _pictures.c.data).order_by(_pictures.c.position))
    assert [tuple(row) for row in kept] == [(0, pictures[0]), (1, pictures[1])]
    (large,) = [key for key in broker.blobs if key.startswith("in/")]
    assert large.endswith("/2")
    assert await broker.core.blobs.get(large) == pictures[2]


async def test_server_that_does_not_answer_costs_its_record_only(
    broker: Broker, start_worker: StartWorker, images: Web
) -> None:
    images.answers["/stall"] = [stall]
    await start_worker(fetch_timeout=0.2)
    async with not_heard() as port:
        silent = f"http://127.0.0.1:{port}/"
        records = await broker.run("upscaler", {"_url": images.url("/stall")}, {"_url": silent}, GOOD)
    assert [record["_status"]["code"] for record in records] == [502, 502, 200]


async def test_name_that_does_not_exist_is_a_502(broker: Broker, worker: Worker) -> None:
    (record,) = await broker.run("upscaler", {"_url": "http://nowhere.invalid/a.jpg"})
    assert record["_status"]["code"] == 502


async def test_server_that_recovers_costs_nothing(broker: Broker, worker: Worker, images: Web) -> None:
    images.answers["/flaky"] = [reply(500), reply(503), reply(200, photograph("chelsea-face.webp"))]
    (record,) = await broker.run("upscaler", {"_url": images.url("/flaky")})
    assert record["_status"]["code"] == 200
    assert images.hits("/flaky") == 3


async def test_records_with_one_source_share_its_download(broker: Broker, worker: Worker, images: Web) -> None:
    url = images.url("/face.webp")
    records = await broker.run("upscaler", {"_url": url}, {"_url": url}, {"_url": url + "?v=2"}, {"_url": url})
    images.answers["/face.webp?v=2"] = images.answers["/face.webp"]
    assert [record["_status"]["code"] for record in records] == [200, 200, 404, 200]
    assert images.hits("/face.webp") == 1
    links = {record.get("_upscaled_image_url") for record in records}
    assert len(links) == 4


async def test_failed_download_is_shared_too(broker: Broker, worker: Worker, images: Web) -> None:
    images.answers["/500"] = [reply(500)]
    records = await broker.run("upscaler", *[{"_url": images.url("/500")}] * 5)
    assert [record["_status"]["code"] for record in records] == [502] * 5
    assert len({record["_status"]["request_id"] for record in records}) == 5
    assert images.hits("/500") == 3


@pytest.mark.parametrize(("good", "bad", "word"), [(2, 0, "succeeded"), (1, 1, "partial"), (0, 2, "failed")])
async def test_outcome_counts_the_good_records(
    broker: Broker, worker: Worker, images: Web, good: int, bad: int, word: str
) -> None:
    await broker.run("upscaler", *[GOOD] * good, *[{"_url": images.url("/missing")}] * bad)
    assert await outcome(broker) == word


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"no picture", 415), (photograph("coffee.jpg")[:-5000], 400), (SVG, 415), (b"\xff\xd8\xff", 400), (b"\0", 415)],
    ids=["text", "cut off", "svg", "three bytes", "one byte"],
)
async def test_base64_that_is_no_picture_is_its_records_answer(
    broker: Broker, worker: Worker, data: bytes, code: int
) -> None:
    bad, good = await broker.run("upscaler", {"_base64": base64.b64encode(data).decode(), "_id": "bad"}, GOOD)
    assert (bad["_id"], bad["_status"]["code"], good["_status"]["code"]) == ("bad", code, 200)


async def test_picture_over_a_cap_is_its_records_answer(broker: Broker, start_worker: StartWorker, images: Web) -> None:
    await start_worker(max_image_pixels=100_000, max_output_pixels=200_000)
    wide, enlarged = await broker.run("upscaler", {"_url": images.url("/coffee.jpg")}, GOOD, endpoint="upscale_4x")
    assert (wide["_status"]["code"], enlarged["_status"]["code"]) == (413, 413)
    assert "600 x 400" in wide["_status"]["text"]
    assert "960 x 720" in enlarged["_status"]["text"]


async def test_sent_picture_that_has_expired_is_a_410(broker: Broker, start_worker: StartWorker) -> None:
    accepted = await broker.post({"type": "upscaler", "records": [LARGE, GOOD]})
    await broker.core.blobs.remove(broker.blobs[0])
    await start_worker()
    records = (await broker.done(accepted["id"]))["response"]["records"]
    assert [record["_status"]["code"] for record in records] == [410, 200]


async def test_many_batches_at_once_all_end_well(broker: Broker, worker: Worker, images: Web) -> None:
    results = await asyncio.gather(
        *(broker.run("upscaler", {"_url": images.url("/face.webp"), "n": number}) for number in range(20))
    )
    assert [records[0]["n"] for records in results] == list(range(20))
    assert {record["_status"]["code"] for (record,) in results} == {200}
