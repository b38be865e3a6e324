"""What is said of a URL when a batch is submitted."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Invalid
from broker.net.addresses import Policy
from broker.net.urls import check_url, literal, parse_url, port_of

CLOSED = Policy()
LOCAL = Policy((ip_network("127.0.0.0/8"),))


def complaint(url: str, policy: Policy = CLOSED) -> str | None:
    try:
        check_url(url, policy)
    except Invalid as invalid:
        assert not invalid.fields  # the caller knows which field it was
        return invalid.message
    return None


def host_refused(message: str | None) -> bool:
    return message is not None and re.fullmatch(r"Host \S+ is not allowed\.", message) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com/a/b.jpg?c=d&e=%20#f",
        "HTTPS://EXAMPLE.COM/",
        "http://example.com:8080/",
        "http://example.com:0000080/",
        "http://example.com./",
        "http://my_bucket.s3-eu-west-1.example.com/",
        "http://exämple.com/ü",
        "http://xn--exmple-cua.com/",
        "http://3com.com/",
        "http://0x.example/",
        "http://8.8.8.8/",
        "http://[2606:4700::1111]:443/",
        "http://[::ffff:8.8.8.8]/",
        "http://example.com/" + "a" * (2048 - 19),
    ],
)
def test_good_urls(url: str) -> None:
    assert complaint(url) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0X7F.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "10.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "a.localhost",
        "127。0。0。1",
        "[::1]",
        "[::]",
        "[::1%lo]",
        "[2606:4700::1%25lo]",
        "[::1%25lo]",
        "[fe80::1%25eth0]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[fd00:ec2::254]",
    ],
)
def test_a_literal_is_judged_at_once_in_every_spelling(host: str) -> None:
    assert host_refused(complaint(f"http://{host}/"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost", "localhost."])
def test_a_literal_in_an_open_network_may_use_any_port(host: str) -> None:
    assert complaint(f"http://{host}:9999/", LOCAL) is None
    assert complaint(f"http://{host}:9999/", CLOSED) == f"Host {host} is not allowed."


def test_a_public_literal_on_another_port_is_refused() -> None:
    for policy in (CLOSED, LOCAL):
        assert complaint("http://8.8.8.8:22/", policy) == "Port 22 is not allowed."
        assert complaint("http://[2606:4700::1111]:22/", policy) == "Port 22 is not allowed."
        assert complaint("http://10.0.0.7:22/", policy) == "Host 10.0.0.7 is not allowed."
        assert complaint("http://169.254.169.254:22/", policy) == "Host 169.254.169.254 is not allowed."


def test_the_port_of_a_name_is_judged_here_only_if_no_network_is_open() -> None:
    assert complaint("http://example.com:9999/", CLOSED) == "Port 9999 is not allowed."
    assert complaint("http://example.com:9999/", LOCAL) is None
    assert complaint("https://example.com/", Policy(ports=frozenset({80}))) == "Port 443 is not allowed."


@pytest.mark.parametrize("host", ["minio.internal", "MINIO.internal", "minio.internal.", "localhost", "localhost."])
def test_an_open_host_may_use_any_port(host: str) -> None:
    opened = Policy(hosts=frozenset({"minio.internal", "localhost"}))
    assert complaint(f"http://{host}:9000/", opened) is None
    assert complaint(f"http://a.{host}:9000/", opened) is not None
    assert complaint("http://127.0.0.1/", opened) == "Host 127.0.0.1 is not allowed."


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "http://"),
        ("example.com/a.jpg", "http://"),
        ("//example.com/a.jpg", "http://"),
        ("FTP://example.com/", "Scheme ftp is not allowed"),
        ("file:///etc/passwd", "Scheme file is not allowed"),
        ("gopher://example.com/", "Scheme gopher is not allowed"),
        ("data:image/png;base64,AA==", "Scheme data is not allowed"),
        ("localhost:8080/", "The URL must start with http://"),
        ("http:", "host name"),
        ("http:/example.com", "host name"),
        ("http:///a.jpg", "host name"),
        ("http://?a", "host name"),
        ("http://a..b/", "host name"),
        ("http://.a/", "host name"),
        ("http://-a.com/", "host name"),
        ("http://a-/", "host name"),
        ("http://" + "a" * 64 + ".com/", "host name"),
        ("http://" + "a." * 127 + "aa/", "host name"),
        ("http://127%2e0.0.1/", "host name"),
        ("http://exa%00mple.com/", "host name"),
        ("http://exa|mple.com/", "host name"),
        ("http://example.com\\.evil.com/", "host name"),
        ("http://1.2.3.4.5/", "host name"),
        ("http://127.0.0.1./", "host name"),  # no lookup takes it for an address
        ("http://0x7f.1.:8080/", "host name"),
        ("http://1.2.3.256/", "valid URL"),
        ("http://99999999999/", "host name"),
        ("http://example.0x7f/", "host name"),
        ("http://①②⑦.⓪.⓪.①/", "valid URL"),
        ("http://\uff11\uff12\uff17.0.0.1/", "valid URL"),
        ("http://0177.0.0.1/", "valid URL"),
        ("http://xn--zzzz---/", "valid URL"),
        ("http://[::1/", "valid URL"),
        ("http://[1.2.3.4]/", "valid URL"),
        ("http://user@example.com/", "user name"),
        ("http://@example.com/", "user name"),
        ("http://user:secret@example.com/", "user name"),
        ("http://example.com\\@evil.com/", "user name"),
        ("http://example.com@127.0.0.1/", "user name"),
        ("http://example.com:0/", "Port "),
        ("http://example.com:-1/", "Port "),
        ("http://example.com:65536/", "Port "),
        ("http://example.com:http/", "Port "),
        ("http://example.com:" + "9" * 21 + "/", f"Port {'9' * 20} is not valid."),
        ("http://example.com:/", "port"),
        ("http://example.com:+80/", "Port "),
        ("http://example.com:8_0/", "Port "),
        ("http://example.com:\u0668\u0660/", "Port "),
        ("http://example.com:\u00b2/", "Port "),
        ("http://[::1]:/", "port"),
        ("http://exa mple.com/", "spaces"),
        (" http://example.com/", "spaces"),
        ("http://example.com/a b", "spaces"),
        ("http://example.com/\r\nX: y", "spaces"),
        ("http://example.com/\ta", "spaces"),
        ("http://example.com/\x00", "spaces"),
        ("http://example.com/\x7f", "spaces"),
        ("http://example.com/\u00a0", "spaces"),
        ("http://example.com/\u2028", "spaces"),
        ("http://example.com/\ud800", "spaces"),
        ("http://example.com/" + "a" * (2049 - 19), "longer"),
    ],
)
def test_bad_urls_are_refused_with_a_reason(url: str, reason: str) -> None:
    message = complaint(url)
    assert message is not None
    assert reason in message


_PIECES = (
    "a",
    "z",
    "0",
    "9",
    "_",
    "-",
    "--",
    ".",
    "xn--",
    "com",
    "localhost",
    "127.1",
    "0x7f",
    ":",
    ":80",
    ":8080",
    ":0",
    "@",
)
_HOSTS = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=6).map("".join)
_RESTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=12)


@given(scheme=st.sampled_from(["http", "https"]), host=_HOSTS, mark=st.sampled_from(["", "/", "?", "#"]), rest=_RESTS)
@pytest.mark.parametrize("policy", [CLOSED, LOCAL, Policy(hosts=frozenset({"a.com", "com", "localhost"}))])
def test_a_url_judged_at_sight_is_judged_as_by_the_parser(
    policy: Policy, scheme: str, host: str, mark: str, rest: str
) -> None:
    url = f"://{host}{mark}{rest}"
    assert complaint(scheme + url, policy) == complaint(scheme.upper() + url, policy)  # upper case is parsed


def test_no_reason_repeats_the_url() -> None:
    for url in ("http://user:hunter2@example.com/", "http://hunter2..com/", "http://hunter2.com:99999/"):
        assert "hunter2" not in (complaint(url) or "hunter2")


def test_port_of_a_url() -> None:
    assert port_of(parse_url("http://a/")) == 80
    assert port_of(parse_url("https://a/")) == 443
    assert port_of(parse_url("https://a:80/")) == 80


@pytest.mark.parametrize("host", ["example.com", "1.2.3.4.5", "127.0.0.1.example.com", "localhost.example.com", "a"])
def test_a_name_is_no_literal(host: str) -> None:
    assert literal(host) is None
