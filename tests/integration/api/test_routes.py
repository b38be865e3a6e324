"""Paths, methods, hosts: what holds for every route."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import insert

from broker.batches import new_id
from broker.store.tables import BatchRow, table
from tests.integration.net.servers import Web
from tests.integration.running import ROOT, Broker, StartBroker, StartWorker, Worker

URL = "https://images.example.com/a.jpg"
BODY = {"type": "upscaler", "records": [{"_url": URL}]}
PLAIN = {"Content-Type": "application/json"}


async def raw(broker: Broker, text: str) -> tuple[int, str]:
    """The status and the whole answer to bytes on a socket."""
    reader, writer = await asyncio.open_connection(broker.http.base_url.host, broker.http.base_url.port)
    writer.write(text.replace("\n", "\r\n").encode("latin-1"))
    answer = (await reader.read()).decode("latin-1")
    writer.close()
    await writer.wait_closed()
    return int(answer.split(" ")[1]), answer


async def test_both_slash_forms_answer_alike_without_a_redirect(broker: Broker) -> None:
    made = [(await broker.http.post(ROOT + slash, json=BODY)).raise_for_status().json() for slash in ("", "/")]
    for path in (ROOT, f"{ROOT}/{made[0]['id']}", f"{ROOT}/{made[0]['id']}/status", "/healthz", "/openapi.json"):
        bare, slashed = [await broker.http.get(path + slash) for slash in ("", "/")]
        assert (bare.status_code, slashed.status_code) == (200, 200), path
        assert bare.content == slashed.content, path
    assert [(await broker.http.get("/docs" + slash)).status_code for slash in ("", "/")] == [200, 200]
    assert (await broker.http.get(ROOT)).json()["count"] == 2


async def test_head_has_the_headers_of_get_and_no_body(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    for path in (ROOT, f"{ROOT}/{id}", f"{ROOT}/{id}/status", "/healthz"):
        got, head = await broker.http.get(path), await broker.http.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content)), path


async def test_method_that_a_path_has_not_is_a_405_that_names_the_others(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    reads = {"GET", "HEAD"}
    ours = (f"{ROOT}/{id}", f"{ROOT}/{id}/status", "/healthz", "/media/x", "/openapi.json", "/static/docs.css")
    allowed = {ROOT: {"POST", *reads}, **dict.fromkeys(ours, reads)}
    for path, methods in allowed.items():
        for method in {"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - methods:
            answer = await broker.http.request(method, path)
            assert answer.status_code == 405, (method, path)
            assert answer.json() == {"detail": f'Method "{method}" not allowed.'}
            assert set(answer.headers["allow"].split(", ")) == methods, (method, path)


async def test_unknown_path_is_a_404_in_the_same_shape(broker: Broker) -> None:
    for path in ("/account/v2", f"{ROOT}//status", f"{ROOT}/x/y", "/account/v2/request/x/status/z", "/%00"):
        answer = await broker.http.get(path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), path


async def test_id_that_is_not_there_is_a_404(broker: Broker) -> None:
    for id in (new_id(), "1", "a" * 5000, "00000000-0000-0000-0000-00000000000g", "%2e%2e", new_id().replace("-", "")):
        for path in (f"{ROOT}/{id}", f"{ROOT}/{id}/status", f"{ROOT}/{id}?wait=30"):
            answer = await broker.http.get(path)
            assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."}), path


async def test_id_is_found_in_any_case(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    assert (await broker.details(id.upper()))["id"] == id


async def test_batch_of_another_dialect_is_not_there(broker: Broker) -> None:
    accepted = await broker.post(BODY)
    (row,) = await broker.store.rows(table(BatchRow).select())
    other = row._asdict() | {"seq": row.seq + 1, "id": new_id(), "dialect": "slashed"}
    await broker.store.change(insert(table(BatchRow)).values(**other))
    assert (await broker.http.get(f"{ROOT}/{other['id']}")).status_code == 404
    assert (await broker.http.get(f"{ROOT}/{other['id']}/status")).status_code == 404
    assert (await broker.http.get(f"{ROOT}/{accepted['id']}")).status_code == 200


async def test_unknown_query_of_details_and_status_is_refused(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    for path in (f"{ROOT}/{id}?waiting=1", f"{ROOT}/{id}/status?waiting=1"):
        answer = await broker.http.get(path)
        assert (answer.status_code, answer.json()) == (400, {"waiting": ["Unknown query parameter."]})


async def test_wait_answers_as_soon_as_the_batch_is_done(broker: Broker, worker: Worker, images: Web) -> None:
    accepted = await broker.post({"type": "upscaler", "records": [{"_url": images.url("/face.webp")}]})
    details = (await broker.http.get(f"{ROOT}/{accepted['id']}?wait=60")).json()
    assert details["status"] == "DONE"
    assert details["response"]["records"][0]["_status"]["code"] == 200


async def test_wait_is_rung_out_by_the_bell(
    start_broker: StartBroker, start_worker: StartWorker, images: Web, valkey_url: str
) -> None:
    """Over Redis the answer need not wait for the next look into SQL, which is a second away."""
    broker = await start_broker(redis_url=valkey_url)
    accepted = await broker.post({"type": "upscaler", "records": [{"_url": images.url("/face.webp")}]})
    waiting = asyncio.create_task(broker.http.get(f"{ROOT}/{accepted['id']}?wait=60"))
    await start_worker(redis_url=valkey_url)
    assert (await waiting).json()["status"] == "DONE"


async def test_wait_ends_when_its_time_is_over(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    started = time.monotonic()
    answer = await broker.http.get(f"{ROOT}/{id}?wait=0.3")
    assert (answer.status_code, answer.json()["status"]) == (200, "CREATED")
    assert time.monotonic() - started >= 0.3


async def test_wait_that_is_no_number_of_seconds_is_refused(broker: Broker) -> None:
    id = (await broker.post(BODY))["id"]
    for value in ("soon", "-1", "nan", "inf", ""):
        answer = await broker.http.get(f"{ROOT}/{id}", params={"wait": value})
        assert (answer.status_code, answer.json()) == (400, {"wait": ["A number of seconds is required."]}), value


async def test_host_that_is_none_is_refused_before_anything_is_kept(broker: Broker) -> None:
    for host in ("", "a b", "evil.example.com/path?", "user@evil", "[::1", "a:b", "a:999999", 'x"y', "ex\u00e4mple"):
        status, answer = await raw(
            broker,
            f"POST {ROOT} HTTP/1.1\nHost: {host}\nContent-Type: application/json\nConnection: close\n"
            f"Authorization: Token {broker.tenant.token}\nContent-Length: 62\n\n"
            '{"type":"upscaler","records":[{"_url":"https://a.example.com"}]}'[:-2]
            + "]}",
        )
        assert status == 400, (host, answer)
    assert await broker.store.rows(table(BatchRow).select()) == []


@pytest.mark.parametrize("host", ["images.example.com", "[2001:db8::1]:8443", "localhost:8000"])
async def test_links_and_pages_begin_with_the_host_of_the_client(broker: Broker, host: str) -> None:
    answer = await broker.http.post(ROOT, json=BODY, headers={"Host": host})
    assert answer.status_code == 201
    await broker.post(BODY)
    assert await base_urls(broker) == [f"http://{host}", str(broker.http.base_url).rstrip("/")]
    page = (await broker.http.get(f"{ROOT}?page_size=1", headers={"Host": host})).json()
    assert page["next"] == f"http://{host}{ROOT}?page_size=1&page=2"


async def test_forwarded_headers_count_from_a_trusted_proxy(start_broker: StartBroker) -> None:
    broker = await start_broker(trusted_proxies=("10.0.0.0/8", "127.0.0.0/8"))
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "shown.example.com"}
    chained = {"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "evil.example.com, shown.example.com"}
    added = [("X-Forwarded-Host", "evil.example.com"), ("X-Forwarded-Host", "shown.example.com")]
    for headers in (forwarded, chained, [*added, ("X-Forwarded-Proto", "https")], {"X-Forwarded-Proto": "https"}):
        assert (await broker.http.post(ROOT, json=BODY, headers=headers)).status_code == 201
    own = str(broker.http.base_url).rstrip("/").replace("http:", "https:")
    assert await base_urls(broker) == ["https://shown.example.com"] * 3 + [own]
    for name, value in (("X-Forwarded-Host", "a/b"), ("X-Forwarded-Proto", "javascript")):
        assert (await broker.http.post(ROOT, json=BODY, headers={name: value})).status_code == 400


async def test_forwarded_headers_of_anybody_else_do_not_count(start_broker: StartBroker) -> None:
    broker = await start_broker(trusted_proxies=("10.0.0.0/8",))
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.com", "Forwarded": "host=evil"}
    assert (await broker.http.post(ROOT, json=BODY, headers=forwarded)).status_code == 201
    assert await base_urls(broker) == [str(broker.http.base_url).rstrip("/")]


async def test_public_url_stands_before_every_link(
    start_broker: StartBroker, start_worker: StartWorker, images: Web
) -> None:
    public = "https://images.example.com/broker"
    broker = await start_broker(public_url=public + "/")
    await start_worker(public_url=public + "/")
    (record,) = await broker.run("upscaler", {"_url": images.url("/face.webp")})
    assert record["_upscaled_image_url"].startswith(public + "/media/out/")


async def test_pages_are_linked_by_the_host_that_the_client_used_whatever_the_public_url_is(
    start_broker: StartBroker,
) -> None:
    broker = await start_broker(public_url="https://images.example.com")
    for _ in range(2):
        await broker.post(BODY)
    listed = (await broker.http.get(ROOT, params={"page_size": 1})).json()
    assert listed["next"] == f"{str(broker.http.base_url).rstrip('/')}{ROOT}?page_size=1&page=2"


async def base_urls(broker: Broker) -> list[str]:
    rows = await broker.store.rows(table(BatchRow).select().order_by(table(BatchRow).c.id))
    return [row.base_url for row in rows]
