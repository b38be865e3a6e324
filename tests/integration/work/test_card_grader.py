"""From a POST to a measured card: rendered photographs through the real card grader."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from bench.cards import painted
from bench.cards.truth import Rendered
from tests.integration.running import ROOT, Broker, Worker, in_base64

TYPE = "card-grader"
PICTURES = {"centering": ("exact", "clean"), "crop_level": ("full", "exact"), "localize": ()}


@pytest.fixture(scope="module")
def picture() -> Rendered:
    """A card with a printed border."""
    return next(one for one in (painted.render(seed, "cloth") for seed in range(801, 820)) if one.borders)


@pytest.mark.parametrize("endpoint", PICTURES)
async def test_card_is_found_and_its_pictures_can_be_downloaded(
    broker: Broker, worker: Worker, picture: Rendered, endpoint: str
) -> None:
    (record,) = await broker.run(TYPE, {"_base64": in_base64(picture.jpeg())}, endpoint=endpoint)
    assert record["_status"]["code"] == 200
    assert picture.corner_errors(np.array(record["_points"])).max() < 10
    links = {key for key in record if "_url_" in key}
    assert links == {f"_{name}_url_card" for name in PICTURES[endpoint]}
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        for link in links:
            answer = await client.get(record[link])
            assert answer.headers["content-type"] == "image/webp"
            assert Image.open(io.BytesIO(answer.content)).height >= 1408


async def test_picture_without_a_card_leaves_the_other_records_alone(
    broker: Broker, worker: Worker, picture: Rendered
) -> None:
    blank = io.BytesIO()
    Image.new("RGB", (640, 480), (90, 90, 90)).save(blank, "PNG")
    sources = [{"_base64": in_base64(data)} for data in (blank.getvalue(), picture.jpeg(), b"no picture")]
    records = await broker.run(TYPE, *sources)
    assert [record["_status"]["code"] for record in records] == [422, 200, 415]
    assert records[0]["_status"]["text"].startswith("no card was found")
    assert records[1]["card"][0]["centering"]["grade"] >= 1


@pytest.mark.parametrize("endpoint", ["grade", "condition"])
async def test_endpoint_that_is_not_there_yet_is_refused_by_name(broker: Broker, endpoint: str) -> None:
    body = {"type": TYPE, "endpoint": endpoint, "records": [{"_base64": in_base64(b"x")}]}
    answer = await broker.http.post(ROOT, json=body)
    assert answer.status_code == 400
    assert all(name in answer.text for name in PICTURES)
