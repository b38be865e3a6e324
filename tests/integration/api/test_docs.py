"""`/openapi.json` and `/docs` as a running broker serves them, and the examples as it carries them out."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from broker.api.openapi import document
from tests.integration.running import ROOT, Broker, StartBroker, Worker
from tests.openapi_check import check_answer


@pytest.mark.parametrize("path", ["/openapi.json", "/openapi.json/"])
async def test_the_document_is_served_for_the_installed_types(broker: Broker, path: str) -> None:
    answer = await broker.http.get(path)
    check_answer("GET", path, answer)
    assert answer.json() == document(broker.core.registry)
    OpenAPIV31SpecValidator(answer.json()).validate()


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_the_page_needs_no_token_and_nothing_from_elsewhere(broker: Broker, path: str) -> None:
    del broker.http.headers["Authorization"]
    answer = await broker.http.get(path)
    check_answer("GET", path, answer)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; img-src 'self'")
    links = set(re.findall(r'(?:href|src)="([^"#]+)"', answer.text))
    assert {link.rpartition("/")[2] for link in links} == {"docs.css", "icon.svg", "openapi.json"}
    for link in links:
        assert (await broker.http.get(answer.url.join(link))).status_code == 200, link


async def test_who_asks_for_the_service_itself_is_led_to_the_page(broker: Broker) -> None:
    del broker.http.headers["Authorization"]
    answer = await broker.http.get("/", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/docs")
    (led,) = answer.history
    assert (led.status_code, led.headers["location"]) == (307, "./docs")


@pytest.mark.parametrize(("asset", "media_type"), [("docs.css", "text/css"), ("icon.svg", "image/svg+xml")])
async def test_assets_have_their_media_types(broker: Broker, asset: str, media_type: str) -> None:
    answer = await broker.http.get(f"/static/{asset}")
    assert answer.headers["content-type"].partition(";")[0] == media_type


@pytest.mark.parametrize("path", ["/static/", "/static/none.css", "/static/../docs.py", "/static/%2e%2e/docs.py"])
async def test_nothing_but_the_assets_is_served(broker: Broker, path: str) -> None:
    answer = await broker.http.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not found."}


async def test_examples_call_the_address_that_the_client_used(broker: Broker) -> None:
    answer = await broker.http.get("/docs", headers={"Host": "images.example.com:8443"})
    assert "curl -X POST http://images.example.com:8443/account/v2/request" in answer.text


async def test_examples_call_the_public_url(start_broker: StartBroker) -> None:
    broker = await start_broker(public_url="https://images.example.com/broker")
    answer = await broker.http.get("/docs")
    assert "curl -X POST https://images.example.com/broker/account/v2/request" in answer.text


async def test_a_host_that_is_none_is_refused(broker: Broker) -> None:
    answer = await broker.http.get("/docs", headers={"Host": "a'b\"c"})
    check_answer("GET", "/docs", answer)
    assert answer.status_code == 400


@pytest.mark.parametrize("name", ["inline", "url", "webhook"])
async def test_every_example_of_a_post_is_accepted(broker: Broker, name: str) -> None:
    openapi = (await broker.http.get("/openapi.json")).json()
    examples = openapi["paths"][ROOT]["post"]["requestBody"]["content"]["application/json"]["examples"]
    answer = await broker.http.post(ROOT, json=examples[name]["value"])
    check_answer("POST", ROOT, answer)
    assert answer.status_code == 201


async def test_the_main_example_really_works(broker: Broker, worker: Worker) -> None:
    openapi = (await broker.http.get("/openapi.json")).json()
    content = openapi["paths"][ROOT]["post"]["requestBody"]["content"]["application/json"]
    accepted = await broker.post(next(iter(content["examples"].values()))["value"])
    await broker.done(accepted["id"])
    answer = await broker.http.get(f"{ROOT}/{accepted['id']}")
    check_answer("GET", f"{ROOT}/{accepted['id']}", answer)
    (record,) = answer.json()["response"]["records"]
    assert record["_status"]["code"] == 200
    assert (record["_upscaled_width"], record["_upscaled_height"]) == (16, 16)
    link = record["_upscaled_image_url"]
    picture = await broker.http.get(link)
    check_answer("GET", picture.url.path, picture)
    assert picture.content.startswith(b"\x89PNG")
