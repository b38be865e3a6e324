"""Bodies that are refused: the answer names the field, and nothing of them is kept.

On SQLite alone: they are refused before any database has a part in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.store.tables import BatchRow, table
from tests.integration.running import ROOT, Broker

URL = "https://images.example.com/a.jpg"
HOOK = "https://hooks.example.com/x"
REQUIRED = ["This field is required."]
NO_STRING = ["Not a valid string."]
NO_OBJECT = ["Expected an object."]
EXACTLY_ONE = ["Exactly one of _url and _base64 is required."]
NO_BASE64 = ["Not valid base64."]
NO_HEADER_NAME = ["This is not a valid header name."]
NO_HEADER_VALUE = ["The value may hold only visible ASCII characters, inner spaces and tabs."]
OURS = ["This header is set by the broker and cannot be changed."]
HOSTLESS = "The URL has no valid host name."
SCHEMELESS = "The URL must start with http:// or https://."
WANTED = "the URL must start with http:// or https://."
UPSCALERS = "Choices: upscale_2x, upscale_4x, upscale_8x."


def body(**changes: Any) -> dict[str, Any]:
    """A good body, changed."""
    return {"type": "upscaler", "records": [{"_url": URL}]} | changes


def record(**keys: Any) -> dict[str, Any]:
    """A good body with a good record and a second one of these keys."""
    return body(records=[{"_url": URL}, keys])


def hook(**keys: Any) -> dict[str, Any]:
    return body(webhook={"endpoint": HOOK} | keys)


def headers(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return hook(headers=dict(pairs))


def second(problem: Any) -> dict[str, Any]:
    return {"records": {"1": problem}}


SHAPES: dict[str, tuple[Any, Any]] = {
    "type missing": ({"records": [{"_url": URL}]}, {"type": REQUIRED}),
    "type null": (body(type=None), {"type": NO_STRING}),
    "type a number": (body(type=7), {"type": NO_STRING}),
    "type unknown": (
        body(type="oracle"),
        {"type": ['"oracle" is not a valid choice. Choices: card-grader, upscaler.']},
    ),
    "type of the page, not installed": (
        body(type="flows"),
        {"type": ['"flows" is not a valid choice. Choices: card-grader, upscaler.']},
    ),
    "endpoint unknown": (
        body(endpoint="upscale_3x"),
        {"endpoint": [f'"upscale_3x" is not a valid choice. {UPSCALERS}']},
    ),
    "endpoint empty": (body(endpoint=""), {"endpoint": [f'"" is not a valid choice. {UPSCALERS}']}),
    "endpoint a list": (body(endpoint=["upscale_2x"]), {"endpoint": NO_STRING}),
    "records missing": ({"type": "upscaler"}, {"records": REQUIRED}),
    "records null": (body(records=None), {"records": ["Expected a list of items."]}),
    "records an object": (body(records={"_url": URL}), {"records": ["Expected a list of items."]}),
    "records a string": (body(records=URL), {"records": ["Expected a list of items."]}),
    "no record": (body(records=[]), {"records": ["This list may not be empty."]}),
    "11 records": (
        body(records=[{"_url": URL}] * 11),
        {"records": ["Ensure this field has no more than 10 elements."]},
    ),
    "record a string": (body(records=[URL, {"_url": URL}]), {"records": {"0": NO_OBJECT}}),
    "record null": (body(records=[None]), {"records": {"0": NO_OBJECT}}),
    "type and records missing": ({}, {"type": REQUIRED, "records": REQUIRED}),
    "workspace no UUID": (body(workspace="default"), {"workspace": ["Must be a valid UUID."]}),
    "workspace a number": (body(workspace=1), {"workspace": ["Must be a valid UUID."]}),
    "parameter": (
        body(mode="sharp"),
        {"mode": ["Input should be 'artifact_removal', 'ironed_out' or 'high_fidelity'"]},
    ),
    "two parameters": (
        body(mode=None, model_type=["gan"]),
        {
            "mode": ["Input should be 'artifact_removal', 'ironed_out' or 'high_fidelity'"],
            "model_type": ["Input should be 'classic' or 'gan'"],
        },
    ),
}
RECORDS: dict[str, tuple[Any, Any]] = {
    "empty": (record(), second(EXACTLY_ONE)),
    "neither": (record(note="x"), second(EXACTLY_ONE)),
    "own keys url and base64 only": (record(url=URL, base64="aGk="), second(EXACTLY_ONE)),
    "both": (record(_url=URL, _base64="aGk="), second(EXACTLY_ONE)),
    "two bad ones": (
        body(records=[{}, {"_url": URL}, {"_base64": "!"}]),
        {"records": {"0": EXACTLY_ONE, "2": {"_base64": NO_BASE64}}},
    ),
    "_id a number": (record(_url=URL, _id=5), second({"_id": NO_STRING})),
    "_id a list": (record(_url=URL, _id=["a"]), second({"_id": NO_STRING})),
    "_id empty": (record(_url=URL, _id=""), second({"_id": ["This field may not be blank."]})),
    "_id too long": (
        record(_url=URL, _id="a" * 256),
        second({"_id": ["Ensure this field has no more than 255 characters."]}),
    ),
    "_url a number": (record(_url=5), second({"_url": NO_STRING})),
    "_base64 a number": (record(_base64=5), second({"_base64": NO_STRING})),
    "_base64 empty": (record(_base64=""), second({"_base64": ["This field may not be blank."]})),
    "_base64 of nothing": (record(_base64="  \n"), second({"_base64": ["This field may not be blank."]})),
    "_base64 with strange characters": (record(_base64="aGk*"), second({"_base64": NO_BASE64})),
    "_base64 not ASCII": (record(_base64="aGké"), second({"_base64": NO_BASE64})),
    "_base64 cut off": (record(_base64="aGk"), second({"_base64": NO_BASE64})),
    "_base64 with data behind its end": (record(_base64="aGk=aGk="), second({"_base64": NO_BASE64})),
    "data: without base64": (
        record(_base64="data:image/png,abc"),
        second({"_base64": ["A data: URL must be data:<type>;base64,<data>."]}),
    ),
    "data: without data": (
        record(_base64="data:image/png;base64"),
        second({"_base64": ["A data: URL must be data:<type>;base64,<data>."]}),
    ),
    "data: with bad data": (record(_base64="data:image/png;base64,???"), second({"_base64": NO_BASE64})),
    "data: as _url": (
        record(_url="data:image/png;base64,aGk="),
        second({"_url": [f"Scheme data is not allowed; {WANTED}"]}),
    ),
}
URLS = {
    "": SCHEMELESS,
    "images/a.jpg": SCHEMELESS,
    "ftp://images.example.com/a.jpg": f"Scheme ftp is not allowed; {WANTED}",
    "file:///etc/passwd": f"Scheme file is not allowed; {WANTED}",
    "https://": HOSTLESS,
    "https://user:password@images.example.com/a.jpg": "The URL must not contain a user name or password.",
    "https://images.example.com:99999/a.jpg": "Port 99999 is not valid.",
    "https://images.example.com:port/a.jpg": "Port port is not valid.",
    "https://images.example.com/a b.jpg": "The URL contains spaces or control characters.",
    "https://images.example.com/a\nb.jpg": "The URL contains spaces or control characters.",
    "https://images.example.com/" + "a" * 2048: "The URL is longer than 2048 characters.",
    "http://10.0.0.7/a.jpg": "Host 10.0.0.7 is not allowed.",
    "http://169.254.169.254/latest/meta-data": "Host 169.254.169.254 is not allowed.",
    "http://[::ffff:10.0.0.7]/": "Host ::ffff:10.0.0.7 is not allowed.",
    "http://[fe80::1]/": "Host fe80::1 is not allowed.",
    "http://0x0a000007/": "Host 0x0a000007 is not allowed.",
    "http://8.8.8.8:22/": "Port 22 is not allowed.",
}
WEBHOOKS: dict[str, tuple[Any, Any]] = {
    "a string": (body(webhook=HOOK), {"webhook": NO_OBJECT}),
    "a list": (body(webhook=[]), {"webhook": NO_OBJECT}),
    "no endpoint": (body(webhook={}), {"webhook": {"endpoint": REQUIRED}}),
    "endpoint null": (hook(endpoint=None), {"webhook": {"endpoint": NO_STRING}}),
    "headers a list": (hook(headers=["X-A: b"]), {"webhook": {"headers": NO_OBJECT}}),
    "value a number": (headers(("X-A", 1)), {"webhook": {"headers": {"X-A": NO_STRING}}}),
    "value null": (headers(("X-A", None)), {"webhook": {"headers": {"X-A": NO_STRING}}}),
    "name empty": (headers(("", "b")), {"webhook": {"headers": NO_HEADER_NAME}}),
    "name with a space": (headers(("X A", "b")), {"webhook": {"headers": {"X A": NO_HEADER_NAME}}}),
    "name with a colon": (headers(("X-A:", "b")), {"webhook": {"headers": {"X-A:": NO_HEADER_NAME}}}),
    "name not ASCII": (headers(("X-Ä", "b")), {"webhook": {"headers": {"X-Ä": NO_HEADER_NAME}}}),
    "name twice": (
        headers(("X-A", "b"), ("x-a", "c")),
        {"webhook": {"headers": {"x-a": ["This header is given twice."]}}},
    ),
    "value not ASCII": (headers(("X-A", "ä")), {"webhook": {"headers": {"X-A": NO_HEADER_VALUE}}}),
    "value with a line break": (
        headers(("X-A", "b\r\nHost: evil")),
        {"webhook": {"headers": {"X-A": NO_HEADER_VALUE}}},
    ),
    "value with spaces around": (headers(("X-A", " b ")), {"webhook": {"headers": {"X-A": NO_HEADER_VALUE}}}),
    "value too long": (
        headers(("X-A", "b" * 4097)),
        {"webhook": {"headers": {"X-A": ["The value is longer than 4096 bytes."]}}},
    ),
    "headers too long together": (
        headers(*((f"X-{number}", "b" * 4096) for number in range(4))),
        {"webhook": {"headers": ["Their names and values together are longer than 16384 bytes."]}},
    ),
    "51 headers": (
        headers(*((f"X-{number}", "b") for number in range(51))),
        {"webhook": {"headers": ["At most 50 headers are allowed."]}},
    ),
    "one good, two forbidden": (
        headers(("X-A", "b"), ("Host", "evil"), ("webhook-signature", "v1,x")),
        {"webhook": {"headers": {"Host": OURS, "webhook-signature": OURS}}},
    ),
}
FORBIDDEN_HEADERS = (
    "host content-length content-type content-encoding content-language content-location transfer-encoding connection "
    "keep-alive te trailer upgrade expect proxy-authenticate proxy-authorization proxy-connection user-agent "
    "accept-encoding date age cache-control expires pragma warning forwarded via x-forwarded-for x-forwarded-host "
    "x-forwarded-proto x-real-ip webhook-id webhook-timestamp webhook-signature webhook-anything broker-anything "
    "x-amz-date x-amzn-trace-id x-goog-anything x-google-anything x-gfe-anything x-azure-ref x-fd-healthprobe"
).split()
BROKEN_JSON = {
    "nothing": b"",
    "no JSON": b"hello",
    "cut off": b'{"type":"upscaler","records":[{"_url":',
    "something behind it": b'{"type":"upscaler","records":[]} x',
    "single quotes": b"{'type':'upscaler'}",
    "trailing comma": b'{"type":"upscaler",}',
    "NaN": b'{"type":"upscaler","x":NaN}',
    "Infinity": b'{"type":"upscaler","x":[-Infinity]}',
    "number out of range": b'{"type":"upscaler","x":{"y":-1e999}}',
    "escaped NUL": b'{"type":"upscaler","records":[{"_url":"https://a.example.com/","x":"a\\u0000b"}]}',
    "escaped NUL in a name": b'{"type":"upscaler","x":{"a\\u0000":1}}',
    "raw NUL": b'{"type":"upscaler","x":"a\0b"}',
    "lone high surrogate": b'{"type":"upscaler","x":"\\ud83d"}',
    "lone low surrogate": b'{"type":"upscaler","x":"\\udd8a"}',
    "surrogates in the wrong order": b'{"type":"upscaler","x":"\\udd8a\\ud83d"}',
    "surrogate as bytes": b'{"type":"upscaler","x":"\xed\xa0\xbd"}',
    "not UTF-8": b'{"type":"upscaler","x":"\xff"}',
    "UTF-16": '{"type":"upscaler"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"type":"upscaler"}',
    "nested too deeply": b'{"type":"upscaler","x":' + b"[" * 100_000,
}


async def refusals(broker: Broker, cases: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Case -> what was answered instead of what was expected."""
    wrong = {}
    for name, (sent, expected) in cases.items():
        answer = await broker.http.post(ROOT, json=sent)
        if (answer.status_code, answer.json()) != (400, expected):
            wrong[name] = (answer.status_code, answer.json())
    return wrong


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture(autouse=True)
async def _nothing_is_kept(broker: Broker) -> Any:
    yield
    assert await broker.store.rows(table(BatchRow).select()) == []
    assert broker.blobs == []


@pytest.mark.parametrize("cases", [SHAPES, RECORDS, WEBHOOKS], ids=["body", "record", "webhook"])
async def test_bad_input_names_the_field(broker: Broker, cases: dict[str, tuple[Any, Any]]) -> None:
    assert await refusals(broker, cases) == {}


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (lambda url: record(_url=url), lambda text: second({"_url": [text]})),
        (lambda url: hook(endpoint=url), lambda text: {"webhook": {"endpoint": [text]}}),
    ],
    ids=["_url", "webhook"],
)
async def test_bad_url_names_the_field(broker: Broker, sent: Callable[[str], Any], named: Callable[[str], Any]) -> None:
    cases = {url: (sent(url), named(text)) for url, text in URLS.items()}
    assert await refusals(broker, cases) == {}


async def test_headers_that_are_ours_are_refused_in_any_case(broker: Broker) -> None:
    forms = [form for name in FORBIDDEN_HEADERS for form in (name, name.title(), name.upper())]
    cases = {form: (headers((form, "x")), {"webhook": {"headers": {form: OURS}}}) for form in forms}
    assert await refusals(broker, cases) == {}


async def test_broken_json_is_refused_as_a_whole(broker: Broker) -> None:
    for name, raw in BROKEN_JSON.items():
        answer = await broker.http.post(ROOT, content=raw, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, name
        assert set(answer.json()) == {"detail"}, name
        assert answer.json()["detail"].startswith("JSON parse error - "), name


async def test_nul_is_refused_with_its_place(broker: Broker) -> None:
    for sent, place in (
        (headers(("X-Key", "a\0b"), ("X-Good", "c")), "webhook.headers.X-Key"),
        (headers(("X\0Key", "b")), r"webhook.headers.X\x00Key"),
        (hook(endpoint="https://a.example.com/\0"), "webhook.endpoint"),
        (record(_url="\0"), "records.1._url"),
        (body(**{"ä" * 1000: "\0"}), r"\xe4" * 100),
    ):
        answer = await broker.http.post(ROOT, json=sent)
        expected = {"detail": f"JSON parse error - a string contains NUL at {place}"}
        assert (answer.status_code, answer.json()) == (400, expected)
    answer = await broker.http.post(ROOT, content=rb'"\u0000"', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (400, {"detail": "JSON parse error - a string contains NUL"})


async def test_body_that_is_no_object_is_refused(broker: Broker) -> None:
    for raw in (b"[]", b'"text"', b"7", b"null", b"true", b'[{"type":"upscaler"}]'):
        answer = await broker.http.post(ROOT, content=raw, headers={"Content-Type": "application/json"})
        expected = {"non_field_errors": ["Invalid data. Expected an object."]}
        assert (answer.status_code, answer.json()) == (400, expected), raw


async def test_picture_beside_a_bad_record_is_not_kept(broker: Broker) -> None:
    """The blob store comes after every check."""
    for bad in ({}, {"_url": "ftp://x/"}):
        answer = await broker.http.post(ROOT, json=body(records=[{"_base64": "aGk="}, bad]))
        assert answer.status_code == 400
    assert (await broker.http.post(ROOT, json=body(records=[{"_base64": "aGk="}], mode="x"))).status_code == 400
    assert (await broker.http.post(ROOT, json=body(records=[{"_base64": "aGk="}], type="x"))).status_code == 400
