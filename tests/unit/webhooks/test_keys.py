"""Which signing secrets are in force, and what a rotation makes of them."""

from __future__ import annotations

import pytest

from broker.errors import Misconfigured
from broker.secrets import Purpose, Vault, new_webhook_key_pair, new_webhook_secret
from broker.webhooks.keys import GRACE_MS, MAX_OLD, SigningSecret, in_force, open_secrets, rotated, seal_secrets
from broker.webhooks.signing import Kind

NOW = 1_800_000_000_000


def test_a_replaced_secret_signs_along_for_a_day() -> None:
    secrets = rotated([SigningSecret("old")], "new", NOW)
    assert secrets == (SigningSecret("new"), SigningSecret("old", NOW + 24 * 3600 * 1000))
    assert in_force(secrets, NOW + GRACE_MS - 1) == secrets
    assert in_force(secrets, NOW + GRACE_MS) == (SigningSecret("new"),)


def test_a_further_rotation_gives_nobody_more_time() -> None:
    secrets = rotated(rotated([SigningSecret("first")], "second", NOW), "third", NOW + 1000)
    assert secrets == (
        SigningSecret("third"),
        SigningSecret("second", NOW + 1000 + GRACE_MS),
        SigningSecret("first", NOW + GRACE_MS),
    )


def test_an_expired_secret_vanishes_at_the_next_rotation() -> None:
    secrets = rotated([SigningSecret("first")], "second", NOW)
    assert [one.secret for one in rotated(secrets, "third", NOW + GRACE_MS - 1)] == ["third", "second", "first"]
    assert [one.secret for one in rotated(secrets, "third", NOW + GRACE_MS)] == ["third", "second"]


def test_at_most_ten_old_secrets_sign_along_and_the_oldest_drop_out() -> None:
    secrets: tuple[SigningSecret, ...] = (SigningSecret("0"),)
    for number in range(1, 15):
        secrets = rotated(secrets, str(number), NOW + number)
    assert len(secrets) == MAX_OLD + 1
    assert [one.secret for one in secrets] == [str(number) for number in range(14, 3, -1)]


def test_secrets_are_stored_encrypted_with_their_kinds_and_times() -> None:
    vault = Vault(["k" * 40])
    secrets = (SigningSecret(new_webhook_key_pair()), SigningSecret(new_webhook_secret(), NOW))
    box = seal_secrets(vault, secrets)
    assert open_secrets(vault, box) == secrets
    assert [one.kind for one in open_secrets(vault, box)] == [Kind.ED25519, Kind.SYMMETRIC]
    assert not [one for one in secrets if one.secret[6:].encode() in box]
    with pytest.raises(Misconfigured):
        vault.open(Purpose.WEBHOOK_TARGET, box)
