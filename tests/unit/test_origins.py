"""Spellings of scheme, host and port that lead to one place."""

from __future__ import annotations

import pytest

from broker.origins import origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Hook.Example/a/b?c", "https://hook.example"),
        ("HTTPS://hook.example:443", "https://hook.example"),
        ("https://hook.example:80", "https://hook.example:80"),
        ("http://hook.example:8080/", "http://hook.example:8080"),
        ("http://hook.example:0000080/", "http://hook.example"),
        ("http://hook.example:008080/", "http://hook.example:8080"),
        ("http://hook.example./", "http://hook.example"),
        ("http://hook\u3002example/", "http://hook.example"),
        ("http://H\u00d6\u00d6K.example/", "http://xn--hk-fkaa.example"),
        ("http://XN--hk-FKAA.example./", "http://xn--hk-fkaa.example"),
        ("http://127.1/", "http://127.0.0.1"),
        ("http://0x7f.1/", "http://127.0.0.1"),
        ("http://2130706433:81/", "http://127.0.0.1:81"),
        ("http://017700000001/", "http://127.0.0.1"),
        ("http://[::ffff:7f00:1]/", "http://127.0.0.1"),
        ("http://[2001:DB8:0:0::1]:80", "http://[2001:db8::1]"),
        ("http://[2001:db8::0001]:81", "http://[2001:db8::1]:81"),
    ],
)
def test_an_origin_is_scheme_host_and_port_however_they_are_spelt(url: str, origin: str) -> None:
    assert origin_of(url) == origin
