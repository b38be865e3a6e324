"""The judge of real answers says no where it must."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from broker.api.ximilar_examples import ACCEPTED, DETAILS, EVENT
from tests.openapi_check import check_answer, check_event

PATH = "/account/v2/request"
HEADERS = {
    "Webhook-Id": "msg_1",
    "Webhook-Timestamp": "1700000000",
    "Webhook-Signature": "v1,c2ln",
    "Content-Type": "application/json",
}
OPEN = {key: value for key, value in DETAILS.items() if key != "response"} | {"status": "PROCESSING"}


def answer(code: int, body: Any = None, **headers: str) -> httpx.Response:
    return httpx.Response(code, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("method", "path", "response"),
    [
        ("POST", PATH, answer(201, ACCEPTED)),
        ("post", PATH + "/?x=1", answer(400, {"records": {"0": {"_url": ["Enter a valid URL."]}}})),
        ("GET", f"{PATH}/{ACCEPTED['id']}", answer(200, DETAILS)),
        ("GET", f"{PATH}/{ACCEPTED['id']}/", answer(200, OPEN)),
        ("GET", f"{PATH}/{ACCEPTED['id']}/status", answer(503, {"detail": "Later."}, retry_after="1")),
        ("DELETE", PATH, answer(405, {"detail": "No."}, allow="GET")),
        ("GET", "/media/out/a/b.png?expires=1&signature=x", httpx.Response(200, headers={"content-type": "image/png"})),
        ("HEAD", "/healthz", httpx.Response(200)),
    ],
)
def test_good_answers_pass(method: str, path: str, response: httpx.Response) -> None:
    check_answer(method, path, response)


@pytest.mark.parametrize(
    ("method", "path", "response"),
    [
        pytest.param("POST", PATH, answer(200, ACCEPTED), id="a status that is not listed"),
        pytest.param("POST", PATH, answer(500, {"detail": "Something went wrong."}), id="a crash"),
        pytest.param("GET", "/no/such", answer(200, {}), id="an address that is not listed"),
        pytest.param("DELETE", PATH, answer(404, {"detail": "Not found."}), id="a wrong method that is not a 405"),
        pytest.param("DELETE", PATH, answer(405, {"detail": "No."}), id="a 405 without Allow"),
        pytest.param("POST", PATH, answer(429, {"detail": "Later."}), id="a 429 without Retry-After"),
        pytest.param("POST", PATH, answer(503, {"detail": "Later."}, retry_after="soon"), id="an odd Retry-After"),
        pytest.param("POST", PATH, answer(201, {**ACCEPTED, "modified": ACCEPTED["created"]}), id="a key too many"),
        pytest.param("POST", PATH, answer(201, {**ACCEPTED, "created": "2022-03-02T13:38:22Z"}), id="a coarse time"),
        pytest.param("POST", PATH, answer(201, {**ACCEPTED, "id": "7"}), id="an id that is no UUID"),
        pytest.param("POST", PATH, httpx.Response(201, text="created"), id="a body that is not JSON"),
        pytest.param("POST", PATH, answer(400, {"records": "wrong"}), id="messages that are no list"),
        pytest.param(
            "GET", f"{PATH}/1", answer(200, {**OPEN, "response": DETAILS["response"]}), id="an early response"
        ),
        pytest.param("GET", f"{PATH}/1", answer(200, {**OPEN, "status": "DONE"}), id="DONE without a response"),
        pytest.param("HEAD", "/healthz", answer(200, {"status": "ok"}), id="HEAD with a body"),
    ],
)
def test_an_answer_that_breaks_the_promise_fails(method: str, path: str, response: httpx.Response) -> None:
    with pytest.raises(AssertionError):
        check_answer(method, path, response)


@pytest.mark.parametrize("key", ["webhook", "records"])
def test_an_echo_that_shows_secrets_or_image_bytes_fails(key: str) -> None:
    shown = {"webhook": {"endpoint": "https://example.com"}, "records": [{"_base64": "aGk="}]}[key]
    with pytest.raises(AssertionError):
        check_answer("POST", PATH, answer(201, {**ACCEPTED, "request": {**ACCEPTED["request"], key: shown}}))


def test_a_good_event_passes() -> None:
    check_event(HEADERS, json.dumps(EVENT).encode())


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_an_event_without_one_of_its_headers_fails(name: str) -> None:
    with pytest.raises(AssertionError):
        check_event({key: value for key, value in HEADERS.items() if key != name}, json.dumps(EVENT).encode())


def test_an_event_with_a_key_too_many_fails() -> None:
    with pytest.raises(AssertionError):
        check_event(HEADERS, json.dumps({**EVENT, "workspace": ACCEPTED["workspace"]}).encode())
