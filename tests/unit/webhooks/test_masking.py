"""What of a customer's secrets is taken out of a receiver's answer."""

from __future__ import annotations

import base64

import pytest

from broker.webhooks.masking import masked

URL = "https://hooks.example.com/a?key=secret%2Dquery&b=another-one"
HEADERS = {
    "Authorization": "Bearer token-of-mine",
    "X-Short": "short",
    "X-Part": "token-of-mine-and-more",
    "X-Pin": "4711ab",
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing of it", "nothing of it"),
        ("", ""),
        ("got Bearer token-of-mine here", "got *** here"),
        ("invalid token token-of-mine", "invalid token ***"),
        ("token-of-mine-and-more", "***"),
        ("POST /a?key=secret%2Dquery&b=another-one", "POST /a?***"),
        ('{"key": "secret-query", "b": "another-one"}', '{"key": "***", "b": "***"}'),
        ("secret%2Dquery", "***"),
        ("short Bearer b key", "short Bearer b key"),
        ("BEARER TOKEN-OF-MINE, token-Of-Mine", "***, ***"),
        ("pin 4711ab and half of it: 4711", "pin *** and half of it: 4711"),
        ("token-of-mine-and-morebearer token-of-mine", "******"),
    ],
)
def test_values_of_headers_and_the_query_are_masked_as_wholes_and_in_parts(text: str, shown: str) -> None:
    assert masked(text, URL, HEADERS) == shown


@pytest.mark.parametrize(
    "text",
    [
        *(r"abc\/def+ghi=jkl\"mno", "abc%2Fdef%2Bghi%3Djkl%22mno", 'abc/def+ghi=jkl\\"mno', "abc/def+ghi=jkl&quot;mno"),
        *('abc/def+ghi=jkl"mno', "abc%2fdef%2bghi%3djkl%22mno"),
    ],
)
def test_values_are_masked_however_a_receiver_writes_them(text: str) -> None:
    assert (
        masked(f"you sent {text}!", "https://hooks.example.com/", {"X-Key": 'abc/def+ghi=jkl"mno'}) == "you sent ***!"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("you sent Bearer token-of-m", "you sent ***"),
        ("you sent t", "you sent ***"),
        ("you sent token-of-mine", "you sent ***"),
        ("/a?key=secret%2Dquery&b=ano", "/a?***"),
        ('{"key": "secret-query", "b": "anoth\ufffd', '{"key": "***", "b": "***'),
        ("nobody", "nobody"),
        ("", ""),
    ],
)
def test_a_secret_of_which_a_cut_leaves_the_beginning_shows_none_of_it(text: str, shown: str) -> None:
    assert masked(text, URL, HEADERS, cut=True) == shown
    assert masked("got it", "https://hooks.example.com/", {}, cut=True) == "got it"


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_a_user_and_a_password_are_masked_as_a_server_decodes_them(scheme: str, charset: str) -> None:
    pair = base64.b64encode("me:pass:w\u00f6rd".encode(charset)).decode()
    for text in ("me:pass:w\u00f6rd", "pass:w\u00f6rd", pair):
        assert masked(f"no, {text}!", "https://hooks.example.com/", {"Authorization": f"{scheme} {pair}"}) == "no, ***!"
    for other in ("Basic", "Basic \u2026", "Basic =", "Basic a", "Bearer bWU6cGFzcw=="):
        assert masked("me:pass", "https://hooks.example.com/", {"Authorization": other}) == "me:pass"


def test_without_headers_and_query_nothing_is_masked() -> None:
    assert masked("a/b *** c", "https://hooks.example.com/a", {}) == "a/b *** c"
