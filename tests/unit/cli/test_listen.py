"""What `broker listen` makes of what strangers send: names, masks, verdicts."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from broker.cli.listen_forward import end_to_end
from broker.cli.listen_pictures import safe_name
from broker.cli.listen_screen import MASK, Screen, body_lines, custom_headers, links_of, plain
from broker.cli.listen_seen import REMEMBERED, Arrival, Judge, Memory, Signature
from broker.secrets import new_webhook_key_pair
from broker.webhooks.signing import signed_headers, verifier_of

SECRET, OTHER = "whsec_" + "A" * 43 + "=", "whsec_" + "B" * 42 + "A="
NOW = 1_800_000_000.0


def arrival(body: bytes = b"{}", at: float = NOW, **headers: str) -> Arrival:
    return Arrival(at, "POST", "/", {name.replace("_", "-"): value for name, value in headers.items()}, body)


def signed(body: bytes, secret: str, timestamp: float = NOW) -> Arrival:
    return Arrival(NOW, "POST", "/", signed_headers([secret], "id-1", int(timestamp), body), body)


def test_a_signature_is_judged_with_its_reason() -> None:
    judge = Judge((OTHER, SECRET))
    assert judge.judge(signed(b"{}", SECRET)) == (Signature.RIGHT, "")
    assert judge.judge(signed(b"{}", SECRET, NOW - 301)) == (
        Signature.WRONG,
        "made 301 s ago; 300 s either way are allowed",
    )
    assert judge.judge(arrival(webhook_id="a")) == (Signature.WRONG, "without webhook-timestamp, webhook-signature")
    for timestamp in ("x", "²", "9" * 5000):
        odd = arrival(webhook_id="a", webhook_timestamp=timestamp, webhook_signature="v1,x v1 , é")
        assert judge.judge(odd) == (Signature.WRONG, "webhook-timestamp is no number")
    assert Judge((OTHER,)).judge(signed(b"{}", SECRET)) == (Signature.WRONG, "of other bytes or by another secret")
    assert Judge(()).judge(signed(b"{}", SECRET)) == (Signature.NOT_CHECKED, "")


def test_a_public_key_verifies_what_its_private_one_signed() -> None:
    pair, other = new_webhook_key_pair(), new_webhook_key_pair()
    Judge((verifier_of(pair),)).check()
    assert Judge((verifier_of(pair),)).judge(signed(b"{}", pair)) == (Signature.RIGHT, "")
    assert Judge((verifier_of(other),)).judge(signed(b"{}", pair))[0] is Signature.WRONG


@pytest.mark.parametrize("secret", ["whsec_n", "whsec_AAAAA", "whpk_AAAA", "nope", "A" * 43 + "="])
def test_a_secret_that_is_none_is_found_before_the_first_webhook(secret: str) -> None:
    Judge((SECRET, OTHER)).check()
    with pytest.raises(ValueError, match=r"."):
        Judge((SECRET, secret)).check()


def test_a_repetition_is_counted_and_other_bytes_under_its_id_are_told() -> None:
    memory = Memory()
    assert [memory.repetition("a", b"1"), memory.repetition("b", b"1"), memory.repetition("", b"1")] == ["", "", ""]
    assert memory.repetition("", b"1") == ""
    assert memory.repetition("a", b"1") == "repetition, number 2 of this id"
    assert memory.repetition("a", b"2") == "repetition, number 3 of this id, WITH OTHER BYTES"


def test_only_so_many_ids_are_remembered_and_the_oldest_go_first() -> None:
    memory = Memory()
    for number in range(REMEMBERED + 1):
        memory.repetition(str(number), b"")
    assert memory.repetition("1", b"") != ""
    assert memory.repetition("0", b"") == ""


@pytest.mark.parametrize(
    "name",
    ["authorization", "proxy-authorization", "cookie", "x-token-2", "my-key", "x-secret", "X-Api-Key", "set-cookie"],
)
def test_values_that_look_secret_are_masked(name: str) -> None:
    assert list(custom_headers({name: "hidden"})) == [(name, MASK)]


def test_other_headers_are_shown_and_the_brokers_own_are_not() -> None:
    headers = {"x-mine": "1", "content-type": "a", "host": "b", "webhook-signature": "v1,x", "user-agent": "c"}
    assert list(custom_headers(headers)) == [("x-mine", "1")]


def test_nothing_of_a_stranger_is_obeyed_by_terminal_or_markup() -> None:
    out = io.StringIO()
    body = json.dumps({"id": "[red]\x1b]0;x\x07", "response": {"records": [{"a": "http://x/\x1b[2J[/]"}]}}).encode()
    screen = Screen(Console(file=out, width=80))
    screen.show(arrival(body, x_a="\x1b[2J[bold]", webhook_id="\r\x9b1A"), (Signature.NOT_CHECKED, ""), "")
    assert not any(letter in out.getvalue() for letter in "\x1b\x07\r\x9b")
    assert "[red]" in out.getvalue()
    assert "[bold]" in out.getvalue()


def test_long_text_is_cut_and_many_records_are_counted() -> None:
    assert plain("a" * 201) == "a" * 200 + "…"
    lines = list(body_lines(json.dumps({"response": {"records": [{}] * 250}}).encode()))
    assert lines[-1] == "… 150 more records"
    assert len(lines) == 102


def test_links_are_found_at_any_depth_in_order_without_the_source() -> None:
    record: dict[str, Any] = {
        "_url": "http://x/source",
        "a": "https://x/1",
        "b": [{"c": "HTTP://x/2", "_url": "http://x/inner"}, "file:///etc/passwd", "see http://x/ there"],
        "d": {"e": "http://x/3"},
    }
    assert list(links_of(record)) == [("a", "https://x/1"), ("c", "HTTP://x/2"), ("e", "http://x/3")]
    deep: Any = "http://x/deep"
    for _ in range(100_000):
        deep = [deep]
    assert list(links_of(deep)) == [("", "http://x/deep")]


@pytest.mark.parametrize(
    ("id", "link", "name"),
    [
        ("01a2-b", "http://x/media/out/1/upscaled.jpg?signature=x", "01a2-b-2-3-upscaled.jpg"),
        ("../../etc", "http://x/..%2f..%2fpasswd", "_.._etc-2-3-passwd"),
        ("", "http://x/", "batch-2-3-picture"),
        ("...", "http://x/.%2e", "batch-2-3-picture"),
        ("a\0b\n", "http://x/%00%0a$(id);%22.png", "a_b_-2-3-_id_.png"),
        ("x" * 500, "http://[", "x" * 80 + "-2-3-picture"),
        ("a", "http://x/" + "y" * 500 + ".webp", "a-2-3-" + "y" * 75 + ".webp"),
    ],
)
def test_a_file_name_stays_in_its_folder(id: str, link: str, name: str) -> None:
    assert safe_name(id, 2, 3, link) == name


def test_headers_of_one_connection_go_no_further() -> None:
    given = [
        (b"Host", b"a"),
        (b"Connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Proxy-Authorization", b"x"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    ]
    assert end_to_end(given) == [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
