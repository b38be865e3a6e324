"""What Ximilar's answers hold: exactly the keys of the vendor's page, and what the caller sent."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from sqlalchemy import update

from broker.store.tables import BatchRow, table
from tests.integration.net.servers import Web
from tests.integration.receiver import Receiver
from tests.integration.running import ROOT, Broker, Worker, in_base64, photograph

URL = "https://images.example.com/a.jpg"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
STATUS_KEYS = {"code", "text", "request_id"}
UPSCALED_KEYS = {"_width", "_height", "_upscaled_width", "_upscaled_height", "_upscaled_image_url", "_method", "_model"}


def is_uuid(text: str) -> bool:
    return str(uuid.UUID(text)) == text


async def test_submit_answers_with_the_keys_of_the_page(broker: Broker) -> None:
    body = {"type": "upscaler", "endpoint": "upscale_4x", "records": [{"_url": URL}]}
    answer = await broker.http.post(ROOT, json=body)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    accepted = answer.json()
    assert set(accepted) == {"id", "request", "type", "status", "created", "workspace"}
    assert accepted["request"] == body
    assert (accepted["type"], accepted["status"]) == ("upscaler", "CREATED")
    assert accepted["workspace"] == broker.tenant.workspace
    assert is_uuid(accepted["id"])
    assert TIME.fullmatch(accepted["created"])


async def test_details_add_modified_and_made_ids(broker: Broker) -> None:
    accepted = await broker.post({"type": "upscaler", "records": [{"_url": URL}, {"_url": URL, "_id": "mine"}]})
    assert accepted["request"]["records"] == [{"_url": URL}, {"_url": URL, "_id": "mine"}]
    details = await broker.details(accepted["id"])
    assert set(details) == {*accepted, "modified"}
    assert TIME.fullmatch(details["modified"])
    made, given = details["request"]["records"]
    assert set(made) == {"_id", "_url"}
    assert is_uuid(made["_id"])
    assert given == {"_id": "mine", "_url": URL}
    assert {key: details[key] for key in ("id", "type", "status", "created", "workspace")} == {
        key: accepted[key] for key in ("id", "type", "status", "created", "workspace")
    }
    assert (await broker.details(accepted["id"]))["request"] == details["request"]


async def test_done_details_and_webhook_have_the_keys_of_the_page(
    broker: Broker, worker: Worker, images: Web, receiver: Receiver
) -> None:
    url = images.url("/face.webp")
    accepted = await broker.post(
        {"type": "upscaler", "records": [{"_url": url}], "webhook": {"endpoint": receiver.url()}}
    )
    details = await broker.done(accepted["id"])
    assert set(details) == {*accepted, "modified", "response"}
    assert details["modified"] > details["created"] == accepted["created"]
    assert set(details["response"]) == {"records"}
    (record,) = details["response"]["records"]
    assert set(record) == {"_id", "_url", "_status", *UPSCALED_KEYS}
    assert record["_id"] == details["request"]["records"][0]["_id"]
    assert record["_url"] == url
    assert set(record["_status"]) == STATUS_KEYS
    assert (record["_status"]["code"], record["_status"]["text"]) == (200, "OK")
    assert is_uuid(record["_status"]["request_id"])

    (post,) = await receiver.posted()
    event = post.json()
    assert set(event) == {"status", "id", "type", "response"}
    assert (event["status"], event["id"], event["type"]) == ("DONE", accepted["id"], "upscaler")
    for known in (event["response"]["records"][0], record):
        known["_upscaled_image_url"] = known["_upscaled_image_url"].partition("?")[0]
    assert event["response"] == details["response"]


async def test_failed_record_keeps_its_keys_and_has_no_results(broker: Broker, worker: Worker, images: Web) -> None:
    (record,) = await broker.run("upscaler", {"_url": images.url("/missing"), "_id": "a", "note": 7})
    assert set(record) == {"_id", "_url", "note", "_status"}
    assert set(record["_status"]) == STATUS_KEYS


async def test_status_is_one_key(broker: Broker) -> None:
    accepted = await broker.post({"type": "upscaler", "records": [{"_url": URL}]})
    answer = await broker.http.get(f"{ROOT}/{accepted['id']}/status")
    assert (answer.status_code, answer.json()) == (200, {"status": "CREATED"})


async def test_paused_is_shown_as_created(broker: Broker) -> None:
    accepted = await broker.post({"type": "upscaler", "records": [{"_url": URL}]})
    for stored, shown in (("PAUSED", "CREATED"), ("PROCESSING", "PROCESSING"), ("CREATED", "CREATED")):
        await broker.store.change(update(table(BatchRow)).values(status=stored))
        status = await broker.http.get(f"{ROOT}/{accepted['id']}/status")
        listed = (await broker.http.get(ROOT)).json()["results"][0]
        details = await broker.details(accepted["id"])
        assert status.json() == {"status": shown}
        assert (details["status"], listed["status"]) == (shown, shown)
        assert "response" not in details


async def test_what_was_sent_comes_back_unchanged(broker: Broker) -> None:
    """Other keys too, whatever they hold; never the webhook, image bytes or an `_id` that was made."""
    odd: dict[str, Any] = {
        "type": "upscaler",
        "pricing": True,
        "lang": "ж \u2028 🦊",
        "none": None,
        "deep": {"list": [1, 2.5, -0.0, 1e-7, {"x": []}], "": "empty name", "big": 2**70},
        "id": "not an id",
        "url": "not a URL",
        "records": [
            {
                "_base64": in_base64(photograph("chelsea-face.webp")),
                "Side": "Front",
                "nested": {"_base64": "kept", "a": [None]},
                "id": 17,
                "url": ["custom"],
                "base64": "custom too",
                "$output": "in/x/y/0",
                "_width": "customers may use any key",
            },
            {"_url": URL, "_id": "two", "_status": "mine"},
        ],
        "webhook": {"endpoint": "https://hooks.example.com/x", "headers": {"X-A": "b"}},
    }
    accepted = await broker.post(odd)
    sent = {key: value for key, value in odd.items() if key != "webhook"}
    first = {key: value for key, value in odd["records"][0].items() if key != "_base64"}
    assert accepted["request"] == {**sent, "records": [first, odd["records"][1]]}
    details = await broker.details(accepted["id"])
    made = details["request"]["records"][0].pop("_id")
    assert is_uuid(made)
    assert details["request"] == accepted["request"]


async def test_null_for_an_optional_key_means_that_it_is_missing(broker: Broker) -> None:
    record = {"_url": URL, "_base64": None, "_id": None}
    accepted = await broker.post({"type": "upscaler", "endpoint": None, "webhook": None, "records": [record]})
    (batch,) = await broker.store.rows(table(BatchRow).select())
    assert (batch.endpoint, batch.webhook) == ("upscale_2x", None)
    assert is_uuid((await broker.details(accepted["id"]))["request"]["records"][0]["_id"])


async def test_custom_keys_of_a_record_stand_in_its_result(broker: Broker, worker: Worker) -> None:
    data = in_base64(photograph("chelsea-face.webp"))
    (record,) = await broker.run("upscaler", {"_base64": data, "Side": "Front", "_width": "mine", "_status": "mine"})
    assert record["Side"] == "Front"
    assert record["_width"] == 240
    assert record["_status"]["code"] == 200
    assert not {"_base64", "_url"} & set(record)


async def test_number_too_large_for_a_float_is_refused_or_kept_as_json(broker: Broker) -> None:
    """`1e400` is legal JSON; as a float it is infinite, which no JSON can say."""
    raw = b'{"type":"upscaler","records":[{"_url":"https://a.example.com/","n":1e400}]}'
    answer = await broker.http.post(ROOT, content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("JSON parse error - ")


async def test_largest_integers_and_deepest_nesting_survive(broker: Broker) -> None:
    deep: Any = 10**4000
    for _ in range(150):
        deep = [deep]
    raw = json.dumps({"type": "upscaler", "records": [{"_url": URL, "deep": deep}], "top": deep})
    answer = await broker.http.post(ROOT, content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    details = await broker.details(answer.json()["id"])
    assert details["request"]["records"][0]["deep"] == deep
    assert details["request"]["top"] == deep


async def test_base64_bytes_are_in_the_blob_store_only(broker: Broker) -> None:
    data = photograph("coffee.jpg")
    for form in (in_base64(data), "data:image/jpeg;base64," + in_base64(data)):
        accepted = await broker.post({"type": "upscaler", "records": [{"_base64": form}]})
        (key,) = [key for key in broker.blobs if accepted["id"] in key]
        assert key == f"in/{broker.tenant.workspace}/{accepted['id']}/0"
        assert await broker.core.blobs.get(key) == data
    marker = data[2000:2060]
    rows = await broker.store.rows(table(BatchRow).select())
    assert not [row for row in rows if in_base64(data)[2000:2060] in str(row)]
    for file in broker.core.settings.data_dir.glob("broker.sqlite3*"):
        assert marker not in file.read_bytes()
        assert in_base64(data).encode()[2000:2060] not in file.read_bytes()
