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
PICTURES = {
    "grade": ("full", "exact"),
    "condition": (),
    "centering": ("exact", "clean"),
    "crop_level": ("full", "exact"),
    "localize": (),
}


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
    links = {key for key in record if key.endswith("_url_card")}
    assert links == {f"_{name}_url_card" for name in PICTURES[endpoint]}
    links |= record.keys() & {"_report_url"}
    assert ("_report_url" in links) == (endpoint == "grade")
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


@pytest.mark.parametrize("wrong", [{"endpoint": "autograph"}, {"endpoint": "condition", "mode": "tag"}])
async def test_what_is_not_offered_is_refused_with_what_is(broker: Broker, wrong: dict[str, str]) -> None:
    answer = await broker.http.post(ROOT, json={"type": TYPE, "records": [{"_base64": in_base64(b"x")}], **wrong})
    assert answer.status_code == 400
    assert all(name in answer.text for name in (("cardmarket", "psa") if "mode" in wrong else PICTURES))


async def test_both_sides_of_a_card_are_graded_for_themselves(
    broker: Broker, worker: Worker, picture: Rendered
) -> None:
    """Captured asynchronous answers hold no grade of both together."""
    sources = [{"_base64": in_base64(picture.jpeg()), "Side": side} for side in ("Front", "Back")]
    front, back = await broker.run(TYPE, *sources)
    assert [one["card"][0]["_tags"]["Side"][0]["name"] for one in (front, back)] == ["Front", "Back"]
    assert back["grades"]["centering"] >= front["grades"]["centering"]
