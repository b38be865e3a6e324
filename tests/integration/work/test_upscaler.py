"""From a POST to a picture that can be downloaded: real photographs through the real upscaler."""

from __future__ import annotations

import io
import time
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.integration.net.servers import Web
from tests.integration.running import Broker, Worker, in_base64, photograph

MEDIA_TYPES = {"JPEG": "image/jpeg", "WEBP": "image/webp"}


async def download(broker: Broker, url: str) -> httpx.Response:
    """Without a token: the link is the right."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return await client.get(url)


async def link(broker: Broker) -> httpx.URL:
    (record,) = await broker.run("upscaler", {"_base64": in_base64(photograph("chelsea-face.webp"))})
    return httpx.URL(record["_upscaled_image_url"])


def sizes(record: dict[str, Any]) -> list[int]:
    return [record[key] for key in ("_width", "_height", "_upscaled_width", "_upscaled_height")]


@pytest.mark.parametrize("endpoint", ["upscale_2x", "upscale_4x", "upscale_8x"])
async def test_picture_by_url_comes_back_enlarged(broker: Broker, worker: Worker, images: Web, endpoint: str) -> None:
    factor = int(endpoint[-2])
    (record,) = await broker.run("upscaler", {"_url": images.url("/face.webp")}, endpoint=endpoint)
    assert sizes(record) == [240, 180, 240 * factor, 180 * factor]
    assert (record["_method"], record["_model"].split(" ")[0]) == ("learned", "robust_2x")
    answer = await download(broker, record["_upscaled_image_url"])
    assert answer.status_code == 200
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == ("WEBP", (240 * factor, 180 * factor))


@pytest.mark.parametrize(
    ("asked", "method", "model"),
    [
        ({}, "learned", "robust_2x"),
        ({"mode": "artifact_removal"}, "learned", "robust_2x"),
        ({"mode": "ironed_out"}, "learned", "smooth_2x"),
        ({"mode": "high_fidelity", "model_type": "gan"}, "learned", "clean_2x"),
        ({"mode": "high_fidelity", "model_type": "classic"}, "lanczos3", ""),
    ],
)
async def test_mode_and_model_type_choose_what_enlarges(
    broker: Broker, worker: Worker, asked: dict[str, str], method: str, model: str
) -> None:
    (record,) = await broker.run("upscaler", {"_base64": in_base64(photograph("chelsea-face.webp"))}, **asked)
    assert (record["_method"], record.get("_model", "").split(" ")[0]) == (method, model)
    answer = await download(broker, record["_upscaled_image_url"])
    assert Image.open(io.BytesIO(answer.content)).size == (480, 360)


async def test_both_forms_of_base64_and_a_url_give_the_same_picture(
    broker: Broker, worker: Worker, images: Web
) -> None:
    data = photograph("coffee.jpg")
    sources = (
        {"_url": images.url("/coffee.jpg")},
        {"_base64": in_base64(data)},
        {"_base64": "data:image/jpeg;base64," + in_base64(data)},
        {"_base64": "\n".join(in_base64(data)[at : at + 76] for at in range(0, len(in_base64(data)), 76))},
    )
    records = await broker.run("upscaler", *sources)
    assert [sizes(record) for record in records] == [[600, 400, 1200, 800]] * 4
    files = {(await download(broker, record["_upscaled_image_url"])).content for record in records}
    (file,) = files
    assert Image.open(io.BytesIO(file)).size == (1200, 800)


@pytest.mark.parametrize("name", ["coffee.jpg", "chelsea-face.webp"])
async def test_download_says_what_it_is_and_nothing_more(broker: Broker, worker: Worker, name: str) -> None:
    (record,) = await broker.run("upscaler", {"_base64": in_base64(photograph(name))})
    answer = await download(broker, record["_upscaled_image_url"])
    assert answer.headers["content-type"] == MEDIA_TYPES[str(Image.open(io.BytesIO(answer.content)).format)]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        head = await client.head(record["_upscaled_image_url"])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(answer.content))


async def test_link_that_was_changed_is_not_found(broker: Broker, worker: Worker) -> None:
    url = await link(broker)
    assert (await download(broker, str(url))).status_code == 200
    other = url.copy_with(path=url.path.replace("/0/upscaled", "/1/upscaled"))
    later = url.copy_set_param("expires", str(int(url.params["expires"]) + 1))
    sign = url.params["signature"]
    changed = [
        other,
        later,
        url.copy_with(path="/media/in/x"),
        url.copy_with(path="/media/"),
        *(url.copy_set_param("signature", text) for text in ("", "x", sign[:-1], sign + "=", "é", sign.swapcase())),
        *(url.copy_set_param("expires", text) for text in ("", "never", "-1", "9" * 30, "٣", "1e9")),
        *(url.copy_remove_param(name) for name in ("signature", "expires")),
    ]
    for one in changed:
        answer = await download(broker, str(one))
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), one


async def test_link_works_with_a_trailing_slash_too(broker: Broker, worker: Worker) -> None:
    url = await link(broker)
    assert (await download(broker, str(url.copy_with(path=url.path + "/")))).status_code == 200


async def test_expired_link_is_gone(broker: Broker, worker: Worker) -> None:
    url = await link(broker)
    key = url.path.removeprefix("/media/")
    expired = broker.core.links.url(str(broker.http.base_url).rstrip("/"), key, int(time.time()) - 1)
    answer = await download(broker, expired)
    assert (answer.status_code, answer.json()) == (410, {"detail": "This link has expired."})


async def test_link_to_a_blob_that_was_removed_is_gone(broker: Broker, worker: Worker) -> None:
    url = await link(broker)
    await broker.core.blobs.remove(url.path.removeprefix("/media/"))
    answer = await download(broker, str(url))
    assert (answer.status_code, answer.json()) == (410, {"detail": "This file has expired."})


async def test_link_while_the_blob_store_is_away_is_unavailable(broker: Broker, worker: Worker) -> None:
    """Not gone: it will be there again."""
    url = await link(broker)
    folder = broker.core.blobs.folder
    assert folder is not None
    folder.rename(folder.with_name("elsewhere"))
    answer = await download(broker, str(url))
    assert answer.status_code == 503
    folder.with_name("elsewhere").rename(folder)
    assert (await download(broker, str(url))).status_code == 200


async def test_every_read_makes_a_link_that_lives_as_long_as_its_output(broker: Broker, worker: Worker) -> None:
    (record,) = await broker.run("upscaler", {"_base64": in_base64(photograph("chelsea-face.webp"))})
    first = httpx.URL(record["_upscaled_image_url"])
    lives = int(first.params["expires"]) - time.time()
    hours = broker.core.settings.output_hours
    assert hours * 3600 - PATIENT_SECONDS < lives <= hours * 3600
    batch = first.path.split("/")[4]
    again = await broker.details(batch)
    assert again["response"]["records"] == [record]


PATIENT_SECONDS = 60
