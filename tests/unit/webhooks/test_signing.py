"""Signatures of both kinds: the published vectors, and the list of cases that the reference libraries test."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from broker.secrets import new_webhook_key_pair, new_webhook_secret
from broker.webhooks.signing import Kind, kind_of, sign, signed_headers, verifier_of, verify

ID, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAIR = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
VECTORS = {
    SECRET: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    PAIR: "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
}
"""Published by Standard Webhooks and Svix: secret -> signature of the message above."""

PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
HEADERS = {"webhook-id": ID, "webhook-timestamp": str(TIMESTAMP)}
OTHER = {Kind.SYMMETRIC: "v1," + base64.b64encode(b"x" * 32).decode()}
OTHER[Kind.ED25519] = "v1a," + base64.b64encode(b"x" * 64).decode()
both_kinds = pytest.mark.parametrize("secret", VECTORS, ids=["v1", "v1a"])


def headers(signature: str, **changed: str) -> Mapping[str, str]:
    return HEADERS | {"webhook-signature": signature} | {name.replace("_", "-"): text for name, text in changed.items()}


@both_kinds
def test_the_published_vector_is_made(secret: str) -> None:
    assert sign(secret, ID, TIMESTAMP, BODY) == VECTORS[secret]


@pytest.mark.parametrize("secret", [*VECTORS, PUBLIC, SECRET.removeprefix("whsec_")])
def test_the_published_vector_is_accepted(secret: str) -> None:
    """By a shared secret with and without its prefix, by a key pair and by its public key alone."""
    vector = VECTORS[SECRET if kind_of(secret) is Kind.SYMMETRIC else PAIR]
    assert verify([secret], headers(vector), BODY, TIMESTAMP)


def test_a_receiver_gets_the_shared_secret_or_only_the_public_key() -> None:
    assert (verifier_of(SECRET), verifier_of(PAIR), verifier_of(PUBLIC)) == (SECRET, PUBLIC, PUBLIC)


@both_kinds
@pytest.mark.parametrize("body", [b"", b"\x00\xff", "žluťoučký".encode(), b'{"a": 1}\n'])
def test_every_byte_of_the_body_is_signed(secret: str, body: bytes) -> None:
    signature = sign(secret, ID, TIMESTAMP, body)
    assert verify([secret], headers(signature), body, TIMESTAMP)
    assert not verify([secret], headers(signature), body + b" ", TIMESTAMP)


@both_kinds
@pytest.mark.parametrize(
    ("early", "accepted"),
    [
        (0, True),
        (300, True),
        (301, False),
        (300.001, False),
        (-300, True),
        (-301, False),
    ],
)
def test_a_timestamp_counts_for_five_minutes_either_way(secret: str, early: float, accepted: bool) -> None:
    assert verify([secret], headers(VECTORS[secret]), BODY, TIMESTAMP + early) is accepted


@both_kinds
@pytest.mark.parametrize(
    "changed",
    [
        {"webhook_id": ""},
        {"webhook_id": "msg_other"},
        {"webhook_id": "\udc80"},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "hello"},
        {"webhook_timestamp": "1614265330.0"},
        {"webhook_timestamp": "-1614265330"},
        {"webhook_timestamp": " 1614265330"},
        {"webhook_timestamp": "01614265330"},
        {"webhook_timestamp": "١٦١٤٢٦٥٣٣٠"},
        {"webhook_timestamp": "9" * 5000},
        {"webhook_timestamp": str(TIMESTAMP + 1)},
        {"webhook_signature": ""},
    ],
)
def test_a_changed_or_empty_header_is_refused(secret: str, changed: dict[str, str]) -> None:
    assert not verify([secret], headers(VECTORS[secret], **changed), BODY, TIMESTAMP)


@both_kinds
@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(secret: str, name: str) -> None:
    sent = {one: text for one, text in headers(VECTORS[secret]).items() if one != name}
    assert not verify([secret], sent, BODY, TIMESTAMP)


@both_kinds
def test_what_is_no_signature_is_ignored_beside_one_and_refused_alone(secret: str) -> None:
    kind, good = kind_of(secret), VECTORS[secret]
    text = good.partition(",")[2]
    useless = [
        *(kind, f"{kind},", f"{kind},a,b", f"{kind}, ", ",", "", ",,,", text, f",{text}"),
        *(f"{kind},é", f"{kind},\udc80", f"{kind},{text[:-4]}", f"{kind},{text}=", f"{kind}:{text}"),
        *(f"v2,{text}", f"v1b,{text}", f"V1,{text}", OTHER[kind], *OTHER.values()),
    ]
    for entry in useless:
        assert not verify([secret], headers(entry), BODY, TIMESTAMP), entry
        for both in (f"{entry} {good}", f"{good} {entry}"):
            assert verify([secret], headers(both), BODY, TIMESTAMP), both
    assert verify([secret], headers("  ".join([*useless, good])), BODY, TIMESTAMP)


def test_a_signature_counts_only_as_the_kind_that_it_is() -> None:
    """Nobody may sign with a public key as if it were a shared secret."""
    forged = sign(PUBLIC.removeprefix("whpk_"), ID, TIMESTAMP, BODY)
    assert forged.startswith("v1,")
    for text in (forged, forged.replace("v1,", "v1a,")):
        assert not verify([PUBLIC], headers(text), BODY, TIMESTAMP)
        assert not verify([PAIR], headers(text), BODY, TIMESTAMP)


def test_during_a_rotation_either_secret_of_either_kind_is_enough() -> None:
    secrets = [new_webhook_key_pair(), new_webhook_secret(), new_webhook_secret()]
    sent = signed_headers(secrets, ID, TIMESTAMP, BODY)
    assert [entry.partition(",")[0] for entry in sent["webhook-signature"].split(" ")] == ["v1a", "v1", "v1"]
    for secret in secrets:
        assert verify([secret], sent, BODY, TIMESTAMP)
        assert verify([new_webhook_secret(), verifier_of(secret)], sent, BODY, TIMESTAMP)
    for stranger in (new_webhook_secret(), new_webhook_key_pair()):
        assert not verify([stranger], sent, BODY, TIMESTAMP)
    assert not verify([], sent, BODY, TIMESTAMP)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsk_", "whpk_", "whsec_é", "whsec_a b c d", PAIR[:-4], PUBLIC])
def test_a_secret_that_cannot_sign_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match=r"secret|key|base64|ASCII|padding|data"):
        sign(secret, ID, TIMESTAMP, BODY)


@pytest.mark.parametrize("secret", ["", "whsec_", "whpk_AAAA"])
def test_an_unusable_secret_of_ones_own_is_told_and_not_taken_for_a_bad_signature(secret: str) -> None:
    with pytest.raises(ValueError, match=r"secret|key"):
        verify([secret], headers(" ".join(VECTORS.values())), BODY, TIMESTAMP)
