"""A type of another party, installed beside the product from its wheel, used over HTTP."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
from PIL import Image

from tests.acceptance.broker import PHOTOGRAPHS, PICTURE, as_base64, start_up
from tests.acceptance.processes import Commands


def test_its_type_runs_and_its_output_and_parameters_are_there(commands: Commands, plugin_path: Path) -> None:
    up = start_up(commands.with_packages(plugin_path))
    records = [{"_base64": as_base64(PHOTOGRAPHS / "coffee.jpg"), "sku": "C-17"}, {"_base64": as_base64(PICTURE)}]
    id = up.api.submit(records, type="thumbnailer", size=200, fit="cover")
    large, small = up.api.done(id)
    assert (large["_status"]["code"], large["sku"]) == (200, "C-17")
    assert (large["_thumbnail_width"], large["_thumbnail_height"]) == (200, 200)
    picture = httpx.get(large["_thumbnail_url"], trust_env=False, verify=False)
    assert picture.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(picture.content)) as thumbnail:
        assert (thumbnail.size, thumbnail.format) == ((200, 200), "JPEG")
    with Image.open(PICTURE) as original:
        width, height = original.size
    assert small["_status"]["code"] == 422
    assert small["_status"]["text"] == (f"the image of {width} x {height} pixels is smaller than a thumbnail of 200")
    assert up.api.get("/account/v2/request?type=thumbnailer").json()["count"] == 1

    refused = up.api.post(type="thumbnailer", size=5, records=records)
    assert refused.status_code == 400
    assert set(refused.json()) == {"size"}
    described = up.api.get("/openapi.json").text
    assert all(word in described for word in ("thumbnailer", "ThumbnailParams", "cover"))
