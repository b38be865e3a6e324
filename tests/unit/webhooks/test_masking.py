"""What of a customer's secrets is taken out of a receiver's answer."""

from __future__ import annotations

import pytest

from broker.webhooks.masking import masked

URL = "https://hooks.example.com/a?key=secret%2Dquery&b=another-one"
HEADERS = {"Authorization": "Bearer token-of-mine", "X-Short": "short", "X-Part": "token-of-mine-and-more"}


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
    ],
)
def test_values_of_headers_and_the_query_are_masked_as_wholes_and_in_parts(text: str, shown: str) -> None:
    assert masked(text, URL, HEADERS) == shown


@pytest.mark.parametrize(
    "text",
    [
        *(r"abc\/def+ghi=jkl\"mno", "abc%2Fdef%2Bghi%3Djkl%22mno", 'abc/def+ghi=jkl\\"mno', "abc/def+ghi=jkl&quot;mno"),
        'abc/def+ghi=jkl"mno',
    ],
)
def test_values_are_masked_however_a_receiver_writes_them(text: str) -> None:
    assert (
        masked(f"you sent {text}!", "https://hooks.example.com/", {"X-Key": 'abc/def+ghi=jkl"mno'}) == "you sent ***!"
    )


def test_without_headers_and_query_nothing_is_masked() -> None:
    assert masked("a/b *** c", "https://hooks.example.com/a", {}) == "a/b *** c"
