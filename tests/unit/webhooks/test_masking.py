"""What of a customer's secrets is taken out of a receiver's answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from cProfile import Profile
from html import escape
from urllib.parse import quote, quote_plus

import pytest

from broker.webhooks.masking import masked

URL = "https://hooks.example.com/a?key=secret%2Dquery&b=another-one"
HEADERS = {
    "Authorization": "Bearer token-of-mine",
    "X-Short": "short",
    "X-Part": "token-of-mine-and-more",
    "X-Pin": "4711ab",
}
NO_QUERY = "https://hooks.example.com/"
ODD = r"""ab+c/d=e"f'g<h>&i j\k%l~M""" + "\tN"


def in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def each(spelt: str) -> Callable[[str], str]:
    """Every character as that says."""
    return lambda text: "".join(spelt.format(ord(char)) for char in text)


def some(spelt: str, odd: str) -> Callable[[str], str]:
    """Those of `odd` as that says."""
    return lambda text: "".join(spelt.format(ord(char)) if char in odd else char for char in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing of it", "nothing of it"),
        ("", ""),
        ("got Bearer token-of-mine here", "got *** here"),
        ("invalid token token-of-mine", "invalid token ***"),
        ("token-of-mine-and-more", "***"),
        ("POST /a?key=secret%2Dquery&b=another-one", "POST /a?key=***&b=***"),
        ('{"key": "secret-query", "b": "another-one"}', '{"key": "***", "b": "***"}'),
        ("secret%2Dquery", "***"),
        ("short Bearer b key", "short Bearer b key"),
        ("BEARER TOKEN-OF-MINE, token-Of-Mine", "***, ***"),
        ("pin 4711ab and half of it: 4711", "pin *** and half of it: 4711"),
        ("token-of-mine-and-morebearer token-of-mine", "***"),
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
    assert masked(f"you sent {text}!", NO_QUERY, {"X-Key": 'abc/def+ghi=jkl"mno'}) == "you sent ***!"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("you sent Bearer token-of-m", "you sent ***"),
        ("you sent token-of-mine", "you sent ***"),
        ("you certainly sent token-", "you certainly sent ***"),
        ("you certainly sent t", "you certainly ***"),
        ("/a?key=secret%2Dquery&b=ano", "/a?key=***"),
        ('{"key": "secret-query", "anoth\ufffd', '{"key": "***", ***'),
        ("nobody", "***"),
        ("", ""),
    ],
)
def test_the_end_of_an_answer_that_is_cut_is_masked_as_it_may_be_the_beginning_of_a_secret(
    text: str, shown: str
) -> None:
    assert masked(text, URL, HEADERS, cut=True) == shown
    assert masked("nobody sent it", NO_QUERY, {}, cut=True) == "nobody sent it"


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(in_json, id="JSON"),
        pytest.param(lambda text: in_json(text).replace("/", r"\/"), id="JSON of PHP"),
        pytest.param(lambda text: some(r"\u{:04x}", "<>&+'")(in_json(text)), id="JSON of Go"),
        pytest.param(lambda text: some(r"\u{:04X}", "<>&+'")(in_json(text)), id="JSON in capitals"),
        pytest.param(each(r"\u{:04x}"), id="JSON throughout"),
        pytest.param(lambda text: in_json(in_json(text)), id="JSON in JSON"),
        pytest.param(lambda text: in_json(some(r"\u{:04x}", "<>&+'")(in_json(text))), id="JSON of Go in JSON"),
        pytest.param(lambda text: repr(text)[1:-1], id="Python"),
        pytest.param(each(r"\x{:02x}"), id="bytes"),
        pytest.param(quote, id="URL"),
        pytest.param(lambda text: quote(text, safe=""), id="part of a URL"),
        pytest.param(quote_plus, id="form"),
        pytest.param(each("%{:02x}"), id="URL throughout, small"),
        pytest.param(lambda text: quote(quote(text)), id="URL in a URL"),
        pytest.param(lambda text: quote_plus(quote_plus(quote_plus(text))), id="form in a form in a form"),
        pytest.param(escape, id="HTML"),
        pytest.param(lambda text: escape(escape(text)), id="HTML in HTML"),
        pytest.param(some("&#{};", "<>&+'\"/="), id="HTML by number"),
        pytest.param(some("&#{:03};", "<>&+'\"/="), id="HTML by a number with noughts"),
        pytest.param(some("&#x{:x};", "<>&+'\"/="), id="HTML by a hexadecimal"),
        pytest.param(some("&#X{:X};", "<>&+'\"/="), id="HTML by a hexadecimal in capitals"),
        pytest.param(lambda text: escape(text, quote=False).replace("'", "&apos;").replace("+", "&plus;"), id="names"),
        pytest.param(lambda text: in_json(escape(quote_plus(text))), id="form in HTML in JSON"),
        pytest.param(str.upper, id="capitals"),
    ],
)
def test_encoded_values_are_masked_and_what_stands_around_stays_as_it_came(encode: Callable[[str], str]) -> None:
    around = r'%41{"a\/b": "%20\u0041&lt;', r'&gt;\u0041", 100%}'
    assert masked(encode(ODD).join(around), NO_QUERY, {"X-Odd": ODD}) == "***".join(around)
    assert masked(encode(ODD).join(around), NO_QUERY, {"X-Odd": quote(ODD)}) == "***".join(around)
    assert masked(encode(quote(quote(ODD))).join(around), NO_QUERY, {"X-Odd": quote(quote(ODD))}) == "***".join(around)
    assert masked(encode(ODD).join(around), f"{NO_QUERY}?key={quote(ODD, safe='')}", {}) == "***".join(around)


@pytest.mark.parametrize(
    "text",
    [
        "schl\u00fcssel\U0001f511",
        r"schl\u00fcssel\ud83d\udd11",
        "schl%C3%BCssel%f0%9f%94%91",
        "schl%FCssel&#128273;",
        r"schl\xc3\xBCssel\xf0\x9f\x94\x91",
    ],
)
def test_characters_that_take_several_bytes_are_masked_however_they_are_written(text: str) -> None:
    url = f"{NO_QUERY}?key=schl%C3%BCssel%F0%9F%94%91"
    assert masked(f"no, {text}!", url, {}) == "no, ***!"
    assert masked(text, url, {}, cut=True) == "***"


def test_of_several_that_overlap_all_is_masked() -> None:
    for text in ("abababab", "ababababab", "abababababab", "abab" * 40 + "ab"):
        assert masked(f"no, {text}!", NO_QUERY, {"X-Key": "abababab"}) == "no, ***!"
    assert masked("no, abcdeabcdeabc and abcdeabc", NO_QUERY, {"X-Key": "abcdeabc"}) == "no, *** and ***"


@pytest.mark.parametrize("spelt", ["%{:02x}", r"\x{:02x}", r"\u{:04x}", "&#{};"])
def test_of_a_run_of_encoded_characters_those_of_the_secret_are_masked(spelt: str) -> None:
    encode = each(spelt)
    assert masked(encode("so abcdefgh!?"), NO_QUERY, {"X-Key": "abcdefgh"}) == f"{encode('so ')}***{encode('!?')}"


def test_an_encoded_character_at_the_end_of_a_secret_is_masked_as_a_whole() -> None:
    assert masked(r'{"no": "abcdefg\""}', NO_QUERY, {"X-Key": 'abcdefg"'}) == '{"no": "***"}'


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        ("session=abcdefghij12; theme=dark", "no session abcdefghij12, dark", "no session ***, dark"),
        ('Token token="zyxwvutsr98"', "bad token zyxwvutsr98", "bad token ***"),
        ("Digest username='me',response=zyxwvutsr98,qop=auth", "zyxwvutsr98 of me", "*** of me"),
        ("12|abcdefghij", "abcdefghij", "***"),
        ("me:abcdefghij@db", "abcdefghij", "***"),
        ("/a?key=abcdefghij&b=1", "abcdefghij", "***"),
        *((value, "abcdefghij", "***") for value in ("<abcdefghij>", "[abcdefghij]", "{abcdefghij}", "'abcdefghij'")),
        ("/a?abcdefghij", "abcdefghij", "***"),
        ("f(abcdefghij)", "abcdefghij", "***"),
        ('{"a":["abcdefghij"]}', "abcdefghij", "***"),
        (quote('{"a": ["abcdefghij", 1]}'), "abcdefghij", "***"),
        ("abcdefghij==", "abcdefghij== abcdefghij", "*** ***"),
        ("id=7;key=abcdefghij", "7 abcdefghij", "7 ***"),
        ("abc%3Bdefgh x", "abc;defgh", "***"),
    ],
)
def test_words_of_values_that_have_a_structure_are_masked(value: str, text: str, shown: str) -> None:
    assert masked(text, NO_QUERY, {"X-Key": value}) == shown
    assert masked(text, f"{NO_QUERY}?key={quote(value)}", {}) == shown


def test_of_a_part_of_a_secret_eight_characters_in_a_row_are_masked_and_seven_are_not() -> None:
    for part, shown in (
        ("oken-of", "oken-of"),
        ("oken-of-", "***"),
        ("n-of-mine-and", "***"),
        ("xken-of-x", "xken-of-x"),
    ):
        assert masked(f"no, {part}!", NO_QUERY, HEADERS) == f"no, {shown}!"


def test_a_tab_and_a_plus_count_as_a_blank() -> None:
    for text in ("my\tlong secret", "my+long secret", "my long\\tsecret"):
        assert masked(f"no, {text}!", NO_QUERY, {"X-Key": "my long secret"}) == "no, ***!"
        assert masked("no, my long secret!", NO_QUERY, {"X-Key": text}) == "no, ***!"


def test_a_value_that_holds_what_looks_encoded_is_masked_as_it_is_after_each_decoding() -> None:
    value = 'c/@iiB8(\\"pass'
    text = quote(quote(escape(value), safe=""), safe="")
    assert masked(f"no, {text}!", f"{NO_QUERY}?key={quote(value, safe='')}", {}) == "no, ***!"


@pytest.mark.parametrize("length", range(4, 16))
def test_wholes_are_masked_from_six_characters_on_and_parts_from_eight(length: int) -> None:
    secret = "abcdefghijklmnop"[:length]
    for url, value, least in (
        (NO_QUERY, secret, 6),
        (f"{NO_QUERY}?k={secret}", "", 6),
        (f"{NO_QUERY}?{secret}", "", 6),
        (f"{NO_QUERY}?{secret}&b=1", "", 6),
        (NO_QUERY, f"a {secret}", 8),
        (NO_QUERY, f"id=7;key={secret}", 8),
        (f"{NO_QUERY}?k=a:{secret}", "", 8),
    ):
        assert masked(f"<{secret}>", url, {"X-Key": value}) == ("<***>" if length >= least else f"<{secret}>")


def test_names_of_a_query_and_what_is_encoded_otherwise_are_shown() -> None:
    """What is not masked, as the documentation says."""
    url, headers = f"{NO_QUERY}?api_version=2024-01-02", {"X-Key": "Key abc+defghij"}
    four_times = quote(quote(quote(quote("abc+defghij"))))
    in_base64 = base64.b64encode(b"abc+defghij").decode()
    for text in ("api_version", "bc+defg", "abc+ defg", "jihgfed+cba", four_times, in_base64):
        assert masked(text, url, headers) == text


@pytest.mark.parametrize(
    "text",
    [
        *("abc%2Bde%", "abc%2Bde%2", r"abc+de\u00", r"abc+de\u", r"abc+de\x2", "abc+de\\", "abc+de&quo", "abc+de&#x2"),
        *("abc%252Bde%25", "abc%252Bde%252", r"abc\\u002bde\\u002", "abc&#43;de&", "ABC+de%2F%c3", r"abc+de/\xc3"),
        *(r"abc+de/\ud83d", r"abc+de/\ud83d\u", "abc+de/%f0%9F%8", "abc+de/%f0%9F%94"),
    ],
)
def test_a_cut_within_an_encoded_character_shows_nothing_of_the_secret_before_it(text: str) -> None:
    url = f"{NO_QUERY}?key={quote('abc+de/and-more', safe='')}"
    assert masked(f"no, {text}", url, {}, cut=True) in ("no, ***", "n***", "***")
    for begun in ("&abcdef", "&", "&am", "%26abcdef", "%2", r"\u0026abcdef", r"\u00"):
        assert masked(f"no, {begun}", url, {"X-Key": "&abcdefghi"}, cut=True).strip() == "***"


def test_a_cut_within_the_longest_name_of_a_character_shows_nothing_of_the_secret_before_it() -> None:
    url = f"{NO_QUERY}?key=abcdefgh{quote(chr(0x2233))}and-more"
    assert masked("no, abcdefgh&CounterClockwiseContourIn", url, {}, cut=True) == "no, ***"


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
@pytest.mark.parametrize("scheme", ["Basic", "basic"])
def test_a_user_and_a_password_are_masked_as_a_server_decodes_them(scheme: str, charset: str) -> None:
    pair = base64.b64encode("me:pass:w\u00f6rd".encode(charset)).decode()
    for text in ("me:pass:w\u00f6rd", "pass:w\u00f6rd", pair):
        assert masked(f"no, {text}!", NO_QUERY, {"Authorization": f"{scheme} {pair}"}) == "no, ***!"
    for other in ("Basic", "Basic \u2026", "Basic =", "Basic a", "Bearer bWU6cGFzcw=="):
        assert masked("me:pass", NO_QUERY, {"Authorization": other}) == "me:pass"


def test_without_headers_and_query_nothing_is_masked() -> None:
    assert masked("a/b *** c", "https://hooks.example.com/a", {}) == "a/b *** c"


@pytest.mark.parametrize("period", [1, 8, 16, 37])
def test_what_masking_calls_is_bounded_however_often_however_many_secrets_stand_in_an_answer(period: int) -> None:
    """Else one tenant's headers and answers would keep a web process busy; counted are the calls of functions."""
    text = "".join(chr(ord("0") + number) for number in range(period)) * 20_000
    words = {text[begin : begin + length] for length in range(8, 48) for begin in range(period)}
    headers = {f"X-{number}": " ".join([*sorted(words)][number::8])[:4096] for number in range(8)}
    profile = Profile()
    assert profile.runcall(masked, "%25252525" + text[:19_000], NO_QUERY, headers).endswith("***")
    assert sum(entry.callcount for entry in profile.getstats()) < 1000


@pytest.mark.parametrize("coded", ["&amp;", "%41.", "&bbbbbbbb;", r"\u0041.", r"\n"])
def test_any_number_of_encoded_characters_is_read(coded: str) -> None:
    many = coded * (19_000 // len(coded))
    shown = masked(f"{many} secret%2Dof-the-customer!", NO_QUERY, {"X-Key": "secret-of-the-customer"})
    assert shown == f"{many} ***!"


def test_an_answer_that_is_nothing_but_a_short_secret_is_masked() -> None:
    assert masked("4711ab", NO_QUERY, HEADERS) == "***"


def test_a_short_password_is_masked_without_its_user() -> None:
    pair = base64.b64encode(b"me:4711:ab").decode()
    assert masked("no, 4711:ab!", NO_QUERY, {"Authorization": f"Basic {pair}"}) == "no, ***!"


@pytest.mark.parametrize("control", "\b\f\n\r\t")
def test_a_value_with_a_control_character_is_masked_as_json_has_it(control: str) -> None:
    url = f"{NO_QUERY}?key={quote(f'ab{control}cdef')}"
    assert masked(json.dumps({"no": f"ab{control}cdef"}), url, {}) == '{"no": "***"}'


def test_a_password_is_masked_however_its_base64_is_written() -> None:
    """Node and Java take what RFC 4648 calls URL-safe, and what has no padding."""
    pair = base64.b64encode(b"u:????>>>>").decode()
    assert "/" in pair
    assert pair.endswith("==")
    for written in (pair.rstrip("="), pair.replace("/", "_").replace("+", "-")):
        assert masked("no, ????>>>>!", NO_QUERY, {"Authorization": f"Basic {written}"}) == "no, ***!"


def test_a_character_that_html_writes_with_any_number_of_zeros_is_read() -> None:
    for written in ("&#000000000115;ecret-of-mine", "&#x000000000073;ecret-of-mine"):
        assert masked(f"no, {written}!", NO_QUERY, {"X-Key": "secret-of-mine"}) == "no, ***!"
