"""Cancel, retry, pause, resume and delete over HTTP, with a real worker, and what Ximilar's routes show of it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from tests.integration.api.rows import BATCHES, fill
from tests.integration.net.servers import Web, reply
from tests.integration.receiver import Receiver
from tests.integration.running import ROOT, Broker, StartWorker, Worker, as_blob, photograph, until
from tests.openapi_check import check_event

LIST = "/api/batches"
FACE = as_blob(photograph("chelsea-face.webp"))
BODY: dict[str, Any] = {"type": "upscaler", "records": [FACE]}
KEYS = set("id external_id workspace dialect type endpoint status outcome run created modified finished counts".split())


async def act(broker: Broker, id: str, verb: str, **options: Any) -> dict[str, Any]:
    """How a batch stands after a POST that must be answered 200."""
    answer = await broker.http.post(f"{LIST}/{id}/{verb}", json=options)
    assert answer.status_code == 200, answer.text
    batch: dict[str, Any] = answer.json()
    assert set(batch) == KEYS
    return batch


async def refusal(broker: Broker, id: str, verb: str) -> tuple[int, str]:
    answer = await broker.http.post(f"{LIST}/{id}/{verb}")
    assert set(answer.json()) == {"detail"}
    return answer.status_code, answer.json()["detail"]


def counts(records: int, succeeded: int, failed: int) -> dict[str, int]:
    return {"records": records, "finished": succeeded + failed, "succeeded": succeeded, "failed": failed}


@pytest.fixture
async def admin(broker: Broker) -> dict[str, str]:
    """Headers of a token that may do everything in the default workspace."""
    return {"Authorization": f"Token {await broker.store.token('default', ['submit', 'read', 'admin'])}"}


async def test_cancelled_batch_is_done_with_499_and_its_webhook_arrives(
    broker: Broker, start_worker: StartWorker, receiver: Receiver
) -> None:
    body = BODY | {"records": [FACE | {"sku": 1}, FACE], "webhook": {"endpoint": receiver.url()}}
    id = (await broker.post(body))["id"]
    batch = await act(broker, id, "cancel")
    assert (batch["status"], batch["outcome"], batch["run"]) == ("DONE", "cancelled", 1)
    assert batch["counts"] == counts(2, 0, 2)
    assert batch["finished"] is not None
    assert [(one["index"], one["code"], one["text"]) for one in (await broker.get(f"{LIST}/{id}"))["records"]] == [
        (0, 499, "cancelled"),
        (1, 499, "cancelled"),
    ]

    assert (await broker.http.get(f"{ROOT}/{id}/status")).json() == {"status": "DONE"}
    details = await broker.details(id)
    for record in details["response"]["records"]:
        status = record["_status"]
        assert status == {"code": 499, "text": "cancelled", "request_id": status["request_id"]}
    assert details["response"]["records"][0]["sku"] == 1

    await start_worker()
    (post,) = await receiver.posted()
    check_event(post.headers, post.body)
    assert post.json() == {"status": "DONE", "id": id, "type": "upscaler", "response": details["response"]}


async def test_cancel_again_changes_nothing_and_a_batch_that_ended_otherwise_is_a_409(
    broker: Broker, worker: Worker
) -> None:
    done = (await broker.post(BODY))["id"]
    await broker.done(done)
    assert await refusal(broker, done, "cancel") == (409, "The batch is done already.")
    assert (await broker.get(f"{LIST}/{done}"))["outcome"] == "succeeded"

    await worker.stop()
    waiting = (await broker.post(BODY))["id"]
    await act(broker, waiting, "pause")
    first = await act(broker, waiting, "cancel")
    assert (first["outcome"], await act(broker, waiting, "cancel")) == ("cancelled", first)


async def test_retry_runs_only_what_failed_and_announces_itself_anew(
    broker: Broker, worker: Worker, images: Web, receiver: Receiver
) -> None:
    records = [{"_url": images.url("/face.webp")}, {"_url": images.url("/late.webp")}]
    body = {"type": "upscaler", "records": records, "webhook": {"endpoint": receiver.url()}}
    id = (await broker.post(body))["id"]
    await receiver.posted()
    assert (await broker.get(f"{LIST}/{id}"))["counts"] == counts(2, 1, 1)

    images.answers["/late.webp"] = [reply(200, photograph("chelsea-face.webp"))]
    batch = await act(broker, id, "retry")
    assert (batch["run"], batch["outcome"], batch["finished"]) == (2, None, None)
    first, second = await receiver.posted(2)
    assert first.headers["webhook-id"] != second.headers["webhook-id"]
    assert [record["_status"]["code"] for record in second.json()["response"]["records"]] == [200, 200]
    batch = await broker.get(f"{LIST}/{id}")
    assert (batch["status"], batch["outcome"], batch["run"]) == ("DONE", "succeeded", 2)
    assert batch["counts"] == counts(2, 2, 0)
    assert images.hits("/face.webp") == 1

    assert await refusal(broker, id, "retry") == (
        409,
        "No record of the batch failed; ask for all records to run it again.",
    )
    assert (await act(broker, id, "retry", all=True))["run"] == 3
    await receiver.posted(3)
    assert images.hits("/face.webp") == 2


async def test_option_all_is_taken_from_the_query_too(broker: Broker, worker: Worker) -> None:
    id = (await broker.post(BODY))["id"]
    await broker.done(id)
    assert (await broker.http.post(f"{LIST}/{id}/retry?all=false")).status_code == 409
    answer = await broker.http.post(f"{LIST}/{id}/retry/?all=true")
    assert (answer.status_code, answer.json()["run"]) == (200, 2)


async def test_retry_of_a_batch_that_is_not_done_is_a_409(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    assert await refusal(broker, id, "retry") == (409, "The batch is not done yet.")
    await act(broker, id, "pause")
    assert await refusal(broker, id, "retry") == (409, "The batch is not done yet.")
    assert (await broker.get(f"{LIST}/{id}"))["run"] == 1


async def test_retry_whose_picture_is_no_longer_kept_is_a_410(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    await act(broker, id, "cancel")
    await broker.store.change(BATCHES.update().values(inputs_expired=1))
    assert await refusal(broker, id, "retry") == (410, "A picture that was sent along is no longer kept.")
    assert (await broker.get(f"{LIST}/{id}"))["status"] == "DONE"


async def test_bulk_retry_takes_what_ended_so_since_then(broker: Broker) -> None:
    cancelled = [(await broker.post(BODY))["id"] for _ in range(3)]
    for id in cancelled:
        await act(broker, id, "cancel")
    waiting = (await broker.post(BODY))["id"]
    (empty,) = await fill(
        broker, 1, status="DONE", outcome="cancelled", finished=5_000
    )  # without a record, none to run
    other = await broker.store.tenant("other")
    await fill(broker, 1, status="DONE", outcome="cancelled", finished=5_000, workspace_id=other.workspace)

    async def retried(path: str, **options: Any) -> dict[str, Any]:
        answer = await broker.http.post(LIST + "/retry" + path, json=options)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    nothing = {"retried": 0, "refused": 0, "refusals": []}
    assert await retried("", outcome=["succeeded", "failed"]) == nothing
    assert await retried("", outcome="cancelled", since="2999-01-01T00:00:00Z") == nothing
    assert await retried("", outcome="cancelled", since=4_000_000_000_000) == nothing
    assert await retried("?outcome=cancelled&since=1970-01-01T00:00:06Z") == nothing | {"retried": 3}
    assert {(await broker.get(f"{LIST}/{id}"))["run"] for id in cancelled} == {2}
    assert (await broker.get(f"{LIST}/{waiting}"))["run"] == 1
    reason = "No record of the batch failed; ask for all records to run it again."
    told = await retried("", outcome="cancelled", since="1970-01-01T01:00:05+01:00")
    assert told == {"retried": 0, "refused": 1, "refusals": [{"id": empty, "reason": reason}]}
    assert await retried("?since=1970-01-01T00:00:05.001Z", outcome=["cancelled"]) == nothing


async def test_bulk_retry_of_failed_and_partial_takes_what_has_failed_records(
    broker: Broker, worker: Worker, images: Web
) -> None:
    good, bad = {"_url": images.url("/face.webp")}, {"_url": images.url("/none.webp")}
    ids = [(await broker.post({"type": "upscaler", "records": sent}))["id"] for sent in ([good], [good, bad], [bad])]
    for id in ids:
        await broker.done(id)
    answer = await broker.http.post(f"{LIST}/retry", json={"outcome": ["failed", "partial"]})
    assert (answer.status_code, answer.json()) == (200, {"retried": 2, "refused": 0, "refusals": []})

    async def runs() -> list[int] | None:
        batches = [await broker.get(f"{LIST}/{id}") for id in ids]
        return [batch["run"] for batch in batches] if {batch["status"] for batch in batches} == {"DONE"} else None

    assert await until(runs) == [1, 2, 2]


async def test_paused_batch_is_passed_over_and_shown_as_created_by_ximilar(broker: Broker, worker: Worker) -> None:
    await worker.stop()
    id, other = [(await broker.post(BODY))["id"] for _ in range(2)]
    batch = await act(broker, id, "pause")
    assert (batch["status"], batch["outcome"]) == ("PAUSED", None)
    assert await act(broker, id, "pause") == batch
    assert (await broker.http.get(f"{ROOT}/{id}/status")).json() == {"status": "CREATED"}
    assert (await broker.details(id))["status"] == "CREATED"
    listed = (await broker.http.get(ROOT, params={"status": "CREATED"})).json()["results"]
    assert [(one["id"], one["status"]) for one in listed] == [(other, "CREATED"), (id, "CREATED")]
    assert [one["id"] for one in (await broker.http.get(LIST, params={"status": "PAUSED"})).json()["results"]] == [id]


async def test_resumed_batch_runs(broker: Broker, worker: Worker, start_worker: StartWorker) -> None:
    await worker.stop()
    id, other = [(await broker.post(BODY))["id"] for _ in range(2)]
    await act(broker, id, "pause")
    await start_worker()
    await broker.done(other)  # accepted later
    assert (await broker.get(f"{LIST}/{id}"))["status"] == "PAUSED"
    assert (await act(broker, id, "resume"))["status"] == "CREATED"
    await broker.done(id)
    for verb, detail in (
        ("pause", "Only a batch that waits can be paused."),
        ("resume", "The batch is not paused."),
    ):
        assert await refusal(broker, id, verb) == (409, detail)


async def test_paused_workspace_accepts_and_nothing_of_it_is_claimed(
    broker: Broker, worker: Worker, admin: dict[str, str]
) -> None:
    other = await broker.store.tenant("other")
    answer = await broker.http.post("/api/workspace/pause", headers=admin)
    assert (answer.status_code, answer.json()) == (200, {"workspace": broker.tenant.workspace, "paused": True})
    id = (await broker.post(BODY))["id"]
    theirs = {"Authorization": f"Token {other.token}"}
    accepted = (await broker.http.post(ROOT, json=BODY, headers=theirs)).json()

    async def done() -> bool:
        answer = await broker.http.get(f"{ROOT}/{accepted['id']}/status", headers=theirs)
        return bool(answer.json() == {"status": "DONE"})

    await until(done)
    assert (await broker.get(f"{LIST}/{id}"))["status"] == "CREATED"
    assert (await broker.store.row(select(BATCHES.c.lease_seq).where(BATCHES.c.id == id))).lease_seq == 0
    again = await broker.http.post("/api/workspace/pause/", headers=admin)
    assert again.status_code == 200

    answer = await broker.http.post("/api/workspace/resume", headers=admin)
    assert (answer.status_code, answer.json()) == (200, {"workspace": broker.tenant.workspace, "paused": False})
    await broker.done(id)


async def test_deleted_batch_is_gone_with_its_pictures(broker: Broker, worker: Worker, admin: dict[str, str]) -> None:
    id, kept = [(await broker.post(BODY))["id"] for _ in range(2)]
    for one in (id, kept):
        await broker.done(one)
    assert any(id in key for key in broker.blobs)
    answer = await broker.http.delete(f"{LIST}/{id}", headers=admin)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not any(id in key for key in broker.blobs)
    assert any(kept in key for key in broker.blobs)
    assert [one["id"] for one in (await broker.http.get(LIST)).json()["results"]] == [kept]
    for path in (f"{ROOT}/{id}", f"{LIST}/{id}"):
        assert (await broker.http.get(path)).status_code == 404
    assert (await broker.http.delete(f"{LIST}/{id}", headers=admin)).status_code == 404


async def test_batch_that_is_not_done_is_not_deleted(broker: Broker, admin: dict[str, str]) -> None:
    id = (await broker.post(BODY))["id"]
    for prepare in (None, "pause"):
        if prepare:
            await act(broker, id, prepare)
        answer = await broker.http.delete(f"{LIST}/{id}", headers=admin)
        assert (answer.status_code, answer.json()) == (409, {"detail": "The batch is not done yet."})
    assert (await broker.get(f"{LIST}/{id}"))["status"] == "PAUSED"
    assert any(id in key for key in broker.blobs)


async def test_a_batch_is_acted_on_by_its_dialects_own_id(broker: Broker) -> None:
    await fill(broker, 1, dialect="claid", external_id="4711")
    assert (await act(broker, "4711", "pause"))["status"] == "PAUSED"
    assert (await act(broker, "4711", "resume"))["external_id"] == "4711"
