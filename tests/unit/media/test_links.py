"""Links: signed, expiring, made wherever facts refer to an output."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from broker.batches import Batch, Result, Status, new_id
from broker.errors import Gone, NotFound
from broker.media.links import Links, stored
from broker.secrets import Vault

KEY = "out/w/b/1/0/upscaled.jpg"
LINKS = Links(Vault(["k" * 40]), public_url="", output_hours=72)


def parts(url: str) -> tuple[str, str, str, str]:
    """(base, key, expires, signature) of a link."""
    split = urlsplit(url)
    query = parse_qs(split.query, strict_parsing=True)
    base, _, key = f"{split.scheme}://{split.netloc}{split.path}".partition("/media/")
    return base, key, query["expires"][0], query["signature"][0]


def link(key: str = KEY, seconds: int = 60) -> tuple[str, str, str]:
    """(key, expires, signature) of a link that lives for `seconds` from now."""
    return parts(LINKS.url("https://b.example", key, int(time.time()) + seconds))[1:]


def batch(base_url: str = "http://posted.example:81") -> Batch:
    return Batch(
        id=new_id(),
        workspace=new_id(),
        dialect="ximilar",
        type="upscaler",
        endpoint="upscale_2x",
        params={},
        records=(),
        extra="{}",
        base_url=base_url,
        status=Status.DONE,
        outcome=None,
        run=1,
        lease_seq=1,
        created=0,
        modified=0,
    )


def result(facts: dict[str, Any], finished: int = 1_700_000_000_000) -> Result:
    return Result(index=0, code=200, text="OK", request_id=new_id(), facts=facts, finished=finished)


def test_a_link_that_we_made_is_good() -> None:
    LINKS.check(*link())


def test_a_link_says_where_and_until_when() -> None:
    base, key, expires, _ = parts(LINKS.url("https://b.example/broker", KEY, 1234))
    assert (base, key, expires) == ("https://b.example/broker", KEY, "1234")


def test_an_expired_link_is_gone() -> None:
    with pytest.raises(Gone):
        LINKS.check(*link(seconds=-2))


def test_another_key_is_not_found() -> None:
    _, expires, signature = link()
    for other in (KEY[:-1], KEY + "x", KEY.upper(), "", "../" + KEY, KEY + "\n", "in/w/b/0"):
        with pytest.raises(NotFound):
            LINKS.check(other, expires, signature)


def test_another_expiry_is_not_found_even_when_it_is_over() -> None:
    key, expires, signature = link()
    for other in (str(int(expires) + 1), str(int(expires) - 1), "0", str(int(time.time()) - 100)):
        with pytest.raises(NotFound):
            LINKS.check(key, other, signature)


@pytest.mark.parametrize("expires", ["", "-1", "1.5", "1e9", "soon", " 1", "١٢٣", "²", "9" * 13, "9" * 5000])
def test_an_expiry_that_is_no_time_is_not_found(expires: str) -> None:
    with pytest.raises(NotFound):
        LINKS.check(KEY, expires, link()[2])


def test_a_signature_that_was_changed_is_not_found() -> None:
    key, expires, signature = link()
    for other in ("", signature[:-1], signature + "A", signature.swapcase(), "é", link("out/other")[2]):
        with pytest.raises(NotFound):
            LINKS.check(key, expires, other)


def test_a_link_of_another_installation_is_not_found() -> None:
    with pytest.raises(NotFound):
        Links(Vault(["z" * 40]), public_url="", output_hours=72).check(*link())


def test_every_output_in_nested_facts_becomes_a_link() -> None:
    facts = {
        "_upscaled_image_url": stored(KEY),
        "faces": [{"crop": stored("out/1"), "box": [1, 2]}, [stored("out/2")], (stored("out/3"), None)],
        "plain": {"deep": {"er": stored("out/4")}},
        "text": "$output",
    }
    resolved = LINKS.resolve(batch(), result(facts)).facts
    found = [
        resolved["_upscaled_image_url"],
        resolved["faces"][0]["crop"],
        resolved["faces"][1][0],
        resolved["faces"][2][0],
        resolved["plain"]["deep"]["er"],
    ]
    assert [parts(url)[1] for url in found] == [KEY, "out/1", "out/2", "out/3", "out/4"]
    assert (resolved["text"], resolved["faces"][0]["box"], resolved["faces"][2][1]) == ("$output", [1, 2], None)
    assert facts["_upscaled_image_url"] == {"$output": KEY}


def test_a_link_lives_as_long_as_its_output() -> None:
    resolved = LINKS.resolve(batch(), result({"url": stored(KEY)}, finished=1_700_000_000_999))
    assert parts(resolved.facts["url"])[2] == str(1_700_000_000 + 72 * 3600)


def test_a_link_to_an_output_of_an_earlier_run_lives_as_long_as_those_of_the_last_one() -> None:
    again = replace(batch(), run=2, modified=1_800_000_000_999)
    resolved = LINKS.resolve(again, result({"url": stored(KEY)}, finished=1_700_000_000_000))
    assert parts(resolved.facts["url"])[2] == str(1_800_000_000 + 72 * 3600)


def test_a_link_to_an_output_just_made_lives_from_now() -> None:
    before = int(time.time())
    resolved = LINKS.resolve(batch(), result({"url": stored(KEY)}, finished=0))
    _, key, expires, signature = parts(resolved.facts["url"])
    assert before <= int(expires) - 72 * 3600 <= time.time()
    LINKS.check(key, expires, signature)


@pytest.mark.parametrize(
    ("public_url", "base"),
    [("", "http://posted.example:81"), ("https://pictures.example/b", "https://pictures.example/b")],
)
def test_a_link_starts_with_the_public_url_or_the_host_of_the_post(public_url: str, base: str) -> None:
    links = Links(LINKS.vault, public_url=public_url, output_hours=72)
    assert parts(links.resolve(batch(), result({"url": stored(KEY)})).facts["url"])[0] == base
