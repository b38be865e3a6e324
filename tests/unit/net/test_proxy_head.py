"""Heads as the guard proxy reads and passes them on."""

from __future__ import annotations

from base64 import b64encode
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.net.proxy_head import Refused, Request, own_answer, read_request, read_response

SECRET = "a-secret"
KEY = f"Proxy-Authorization: Basic {b64encode(f'x:{SECRET}'.encode()).decode()}"


def request(line: str, *fields: str, key: str = KEY) -> Request:
    return read_request("\r\n".join([line, *fields, key, "", ""]).encode("latin-1"), SECRET)


def refusal(line: str, *fields: str, key: str = KEY) -> int:
    with pytest.raises(Refused) as caught:
        request(line, *fields, key=key)
    return caught.value.status


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("s3.test:443", "s3.test", 443),
        ("S3.Test:9000", "s3.test", 9000),
        ("s3.test:80", "s3.test", 80),
        ("10.0.0.1:443", "10.0.0.1", 443),
        ("2130706433:443", "2130706433", 443),
        ("[::1]:443", "::1", 443),
    ],
)
def test_a_tunnel_leads_to_its_authority(authority: str, host: str, port: int) -> None:
    assert request(f"CONNECT {authority} HTTP/1.1", "Host: other.test:80") == Request(host, port)


@pytest.mark.parametrize(
    ("target", "host", "port", "sent", "named"),
    [
        ("http://s3.test/a?b=c", "s3.test", 80, "/a?b=c", "s3.test"),
        ("http://s3.test", "s3.test", 80, "/", "s3.test"),
        ("HTTP://S3.test:9000?list-type=2", "s3.test", 9000, "/?list-type=2", "S3.test:9000"),
        ("http://[::1]:8080/", "::1", 8080, "/", "[::1]:8080"),
        ("http://s3.test/" + "k" * 9000, "s3.test", 80, "/" + "k" * 9000, "s3.test"),
        ("http://s3.test/a@b/http://c", "s3.test", 80, "/a@b/http://c", "s3.test"),
    ],
)
def test_the_absolute_form_becomes_a_path_and_the_host_of_the_target(
    target: str, host: str, port: int, sent: str, named: str
) -> None:
    asked = request(f"PUT {target} HTTP/1.1", "host: evil.test", "X-A: 1", "Content-Length: 7")
    head = f"PUT {sent} HTTP/1.1\r\nHost: {named}\r\nX-A: 1\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
    assert asked == Request(host, port, head.encode("ascii"), 7)


def test_what_concerns_one_connection_is_not_passed_on() -> None:
    asked = request(
        "GET http://s3.test/ HTTP/1.1",
        "Connection: keep-alive, X-Hop",
        "connection: Content-Length",
        "Keep-Alive: 5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Trailer: X",
        "Upgrade: h2c",
        "X-Hop: 1",
        "Authorization: AWS4",
        "Content-Length: 3",
    )
    assert asked.onward == (
        b"GET / HTTP/1.1\r\nHost: s3.test\r\nAuthorization: AWS4\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
    )
    assert asked.length == 3


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET",
        "GET http://s3.test/",
        "GET http://s3.test/ HTTP/1.0",
        "GET http://s3.test/ HTTP/2",
        "GET http://s3.test/ HTTP/1.1 ",
        "GET  http://s3.test/ HTTP/1.1",
        "G(T http://s3.test/ HTTP/1.1",
        "GET / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET s3.test:80 HTTP/1.1",
        "GET https://s3.test/ HTTP/1.1",
        "GET ftp://s3.test/ HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://s3.test/#a HTTP/1.1",
        "GET http://x:y@s3.test/ HTTP/1.1",
        "GET http://s3.test:0/ HTTP/1.1",
        "GET http://s3.test:99999/ HTTP/1.1",
        "GET http://s3.test\\@10.0.0.1/ HTTP/1.1",
        "GET http://s3..test/ HTTP/1.1",
        "GET http://s\xe4.test/ HTTP/1.1",
        "GET http://s3.test/\n HTTP/1.1",
        "CONNECT s3.test HTTP/1.1",
        "CONNECT s3.test: HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "CONNECT s3.test:443/ HTTP/1.1",
        "CONNECT s3.test:0 HTTP/1.1",
        "CONNECT s3.test:65536 HTTP/1.1",
        "CONNECT x@s3.test:443 HTTP/1.1",
        "CONNECT http://s3.test:443 HTTP/1.1",
        "CONNECT ::1:443 HTTP/1.1",
        "CONNECT [::1:443 HTTP/1.1",
        "CONNECT 1.2.3.4.5:443 HTTP/1.1",
        "connect s3.test:443 HTTP/1.1",
    ],
)
def test_nonsense_is_a_400(line: str) -> None:
    assert refusal(line) == 400


@pytest.mark.parametrize(
    "field",
    [
        "no colon",
        ": a",
        "X A: 1",
        "X-A : 1",
        " X-A: 1",
        "X-A: a\nX-B: b",
        "X-A: a\rb",
        "X-A: \0",
        "X-A: \x7f",
        "\tfolded",
    ],
)
def test_a_broken_field_is_a_400(field: str) -> None:
    assert refusal("GET http://s3.test/ HTTP/1.1", field) == 400


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 1", "Content-Length: 2"),
        *[(f"Content-Length: {bad}",) for bad in ("", "-1", "+1", "1,1", "\xb2")],
    ],
)
def test_a_length_that_can_be_read_in_two_ways_is_a_400(fields: tuple[str, ...]) -> None:
    assert refusal("PUT http://s3.test/ HTTP/1.1", *fields) == 400


@pytest.mark.parametrize("fields", [(), ("Content-Length: 5",), ("Connection: Transfer-Encoding",)])
def test_a_body_in_chunks_is_a_411(fields: tuple[str, ...]) -> None:
    assert refusal("PUT http://s3.test/ HTTP/1.1", *fields, "transfer-encoding: chunked") == 411


@pytest.mark.parametrize(
    "key",
    [
        "X-Nothing: 1",
        "Authorization" + KEY.removeprefix("Proxy-Authorization"),
        KEY.replace("Basic", "Bearer"),
        KEY + "=",
        f"{KEY}\r\n{KEY}",
        KEY[:-4],
        "Proxy-Authorization: Basic",
        "Proxy-Authorization: Basic \xe4",
        f"Proxy-Authorization: Basic {b64encode(b'x:').decode()}",
    ],
)
@pytest.mark.parametrize("line", ["CONNECT s3.test:443 HTTP/1.1", "GET http://s3.test/ HTTP/1.1", "GET / HTTP/1.1"])
def test_without_the_secret_all_is_a_407(line: str, key: str) -> None:
    assert refusal(line, key=key) == 407


@given(st.binary(max_size=200))
def test_no_bytes_without_the_secret_are_a_request(head: bytes) -> None:
    with pytest.raises(Refused):
        read_request(head, SECRET)


@given(
    st.sampled_from([b"", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-A:"]), st.binary(max_size=99)
)
def test_any_bytes_are_a_502_or_one_answer_in_lines(first: bytes, rest: bytes) -> None:
    try:
        onward = read_response(first + rest + b"\r\n\r\n").onward
    except Refused as refused:
        assert refused.status == 502
    else:
        assert onward.count(b"\r\n\r\n") == 1
        assert onward.endswith(b"\r\n\r\n")
        assert onward.count(b"\n") == onward.count(b"\r") == onward.count(b"\r\n")


@pytest.mark.parametrize(
    ("head", "onward"),
    [
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 2",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close",
        ),
        (
            "HTTP/1.0 404\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding",
            "HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\nConnection: close",
        ),
        ("HTTP/1.1 500 Caf\xe9", "HTTP/1.1 500 Caf\xe9\r\nConnection: close"),
    ],
)
def test_an_answer_closes_its_connection(head: str, onward: str) -> None:
    response = read_response(f"{head}\r\n\r\n".encode("latin-1"))
    assert (response.onward, response.interim) == (f"{onward}\r\n\r\n".encode("latin-1"), False)


def test_an_interim_answer_leaves_the_connection_open() -> None:
    response = read_response(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (response.onward, response.interim) == (b"HTTP/1.1 100 Continue\r\n\r\n", True)


@pytest.mark.parametrize(
    "head",
    [
        "SSH-2.0-OpenSSH",
        "HTTP/2 200 OK",
        "HTTP/1.1 99 No",
        "HTTP/1.1 600 No",
        "HTTP/1.1 101 Upgrade",
        "HTTP/1.1 200 OK\r\nX",
    ],
)
def test_an_answer_that_is_none_is_a_502(head: str) -> None:
    with pytest.raises(Refused) as caught:
        read_response(f"{head}\r\n\r\n".encode("latin-1"))
    assert caught.value.status == 502


def test_the_proxys_own_answer_asks_for_the_secret_only_where_that_is_missing() -> None:
    assert b"Proxy-Authenticate: Basic" in own_answer(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
    assert (
        own_answer(HTTPStatus.FORBIDDEN) == b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
