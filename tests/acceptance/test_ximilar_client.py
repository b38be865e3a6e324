"""The vendor's own client from PyPI, unchanged but for its endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ximilar.client.asyncr import AsynchronousRequest, AsyncRClient

from tests.acceptance.broker import PHOTOGRAPHS, PICTURE, Up
from tests.acceptance.processes import until
from tests.acceptance.receiver import Receiver

PAGES, PAGE, LIST = 3, 20, "account/v2/request/"


@pytest.fixture
def client(up: Up) -> AsyncRClient:
    return AsyncRClient(up.token, endpoint=f"{up.url}/")


def finished(request: AsynchronousRequest) -> list[dict[str, Any]]:
    """Its records, once it is DONE; polled as the vendor's documentation does."""
    until(lambda: request.check_status() == "DONE", f"request {request.id} is DONE")
    assert request.update() is True
    records: list[dict[str, Any]] = request.response["records"]
    return records


def submit(client: AsyncRClient, *records: dict[str, Any]) -> AsynchronousRequest:
    return client.submit({"records": list(records)}, "upscaler", endpoint="upscale_2x")


def test_it_submits_by_url_and_by_both_forms_of_base64(client: AsyncRClient, receiver: Receiver) -> None:
    receiver.files["/face.webp"] = PICTURE.read_bytes()
    by_file, bare, by_url = client.preprocess_records(
        [
            {"_file": str(PICTURE), "noresize": True, "sku": "C-17"},
            {"_base64": client.load_base64_file(PICTURE), "noresize": True},
            {"_url": f"{receiver.url}/face.webp"},
        ]
    )
    as_data = {"_base64": "data:image/webp;base64," + client.load_base64_file(PICTURE, resize=False)}
    request = submit(client, by_file, bare, as_data, by_url)
    assert request.type == "upscaler"
    records = finished(request)
    assert [record["_status"]["code"] for record in records] == [200] * 4
    sizes = {(record["_upscaled_width"], record["_upscaled_height"]) for record in records}
    assert sizes == {(2 * records[0]["_width"], 2 * records[0]["_height"])}
    assert records[0]["sku"] == "C-17"
    assert records[3]["_url"] == by_url["_url"]
    assert "_base64" not in records[0]


def test_it_downloads_what_was_made(client: AsyncRClient, tmp_path: Path) -> None:
    photograph = {"_base64": client.load_base64_file(PHOTOGRAPHS / "coffee.jpg", resize=False)}
    (record,) = finished(submit(client, photograph))
    saved = client.download_image(record["_upscaled_image_url"], str(tmp_path), "large.jpg")
    assert Path(saved).read_bytes().startswith(b"\xff\xd8\xff")


def test_it_pages_through_sixty_batches_of_a_workspace(up: Up) -> None:
    environment = up.commands.with_environment(BROKER_DATA_DIR=str(up.folder))
    workspace = environment.run("workspace", "create", "paged").out.strip()
    token = environment.run("token", "create", "--grant", "paged").out.strip()
    client = AsyncRClient(token, endpoint=f"{up.url}/", workspace=workspace)
    sent = [submit(client, {"_base64": client.load_base64_file(PICTURE)}).id for _ in range(PAGES * PAGE)]
    newest_first = sent[::-1]

    items, told = client.get_all_paginated_items(f"{LIST}?page=1")
    assert told == {"status": "OK", "count": PAGES * PAGE}
    assert [item["id"] for item in items] == newest_first
    assert {item["workspace"] for item in items} == {workspace}

    first, following, about = client.get_requests(type="upscaler")
    assert [request.id for request in first] == newest_first[:PAGE]
    assert following.startswith(f"{up.url}/{LIST}?")
    assert about["count"] == PAGES * PAGE
    last, nothing, _ = client.get_requests(page_url=f"{LIST}?page={PAGES}")
    assert ([request.id for request in last], nothing) == (newest_first[-PAGE:], None)

    until(lambda: client.get_requests(status="DONE")[2]["count"] == PAGES * PAGE, "all are DONE")
    assert client.get_requests(status="CREATED")[0] == []
    elsewhere, _ = AsyncRClient(token, endpoint=f"{up.url}/").get_all_paginated_items(f"{LIST}?page=1")
    assert {item["id"] for item in elsewhere}.isdisjoint(sent)


def test_it_sees_one_request_and_the_reason_of_a_bad_record(client: AsyncRClient) -> None:
    request = submit(client, {"_base64": "bm8gcGljdHVyZQ=="})
    (record,) = finished(request)
    assert record["_status"]["code"] == 415
    again, _ = client.get_request(request.id)
    assert (again.id, again.status, again.response["records"]) == (request.id, "DONE", [record])
