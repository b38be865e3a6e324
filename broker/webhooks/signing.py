"""Signatures of Standard Webhooks 1.0 over `id.timestamp.body`, the raw bytes as they are sent: HMAC or ed25519."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.secrets import PRIVATE_PREFIX, PUBLIC_PREFIX, SECRET_PREFIX

TOLERANCE = 300
_SEED_BYTES, _PUBLIC_BYTES = 32, 32
_SECONDS = re.compile(r"[0-9]{1,15}")


class Kind(StrEnum):
    """The version words before signatures: HMAC-SHA256 with a shared secret, ed25519 with a key pair."""

    SYMMETRIC = "v1"
    ED25519 = "v1a"


def kind_of(secret: str) -> Kind:
    """By its prefix: `whsk_` and `whpk_` are halves of a key pair, all else is a shared secret."""
    return Kind.ED25519 if secret.startswith((PRIVATE_PREFIX, PUBLIC_PREFIX)) else Kind.SYMMETRIC


def verifier_of(secret: str) -> str:
    """What a receiver needs: the shared secret itself, or of a key pair its public key, `whpk_` and base64."""
    if not secret.startswith(PRIVATE_PREFIX):
        return secret
    return PUBLIC_PREFIX + base64.b64encode(_key_bytes(secret)[_SEED_BYTES:]).decode()


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """One signature, `v1,<base64>` or `v1a,<base64>`. `timestamp` in seconds since 1970.

    secret: `whsec_` and base64 of the key, or `whsk_` and base64 of an ed25519 seed and its public key, 64 bytes.
    Raises ValueError for one that cannot sign.
    """
    kind, signed = kind_of(secret), _signed(id, str(timestamp), body)
    made = _mac(secret, signed) if kind is Kind.SYMMETRIC else _private_key(secret).sign(signed)
    return f"{kind},{base64.b64encode(made).decode()}"


def signed_headers(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The three headers; with several secrets, during a rotation, one signature each, the newest first."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(secret, id, timestamp, body) for secret in secrets),
    }


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether any signature is by one of the secrets and the timestamp is within five minutes of `now`, in seconds.

    Header names in lower case. A key pair may be given by its public key alone. Headers are a stranger's: what is
    malformed in them is no signature. Raises ValueError for a secret of one's own that is malformed.
    """
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (id and id.isprintable() and _SECONDS.fullmatch(timestamp)) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    signed = _signed(id, timestamp, body)
    found = _signatures(headers.get("webhook-signature", ""))
    return any(_made(secret, signed, signature) for secret in secrets for signature in found[kind_of(secret)])


def _signed(id: str, timestamp: str, body: bytes) -> bytes:
    return b"%b.%b.%b" % (id.encode(), timestamp.encode(), body)


def _signatures(header: str) -> Mapping[Kind, Sequence[bytes]]:
    """The well-formed entries of versions that we know."""
    found: dict[Kind, list[bytes]] = {kind: [] for kind in Kind}
    for entry in header.split(" "):
        version, _, text = entry.partition(",")
        with suppress(ValueError):
            found[Kind(version)].append(base64.b64decode(text, validate=True))
    return found


def _made(secret: str, signed: bytes, signature: bytes) -> bool:
    if kind_of(secret) is Kind.SYMMETRIC:
        return hmac.compare_digest(_mac(secret, signed), signature)
    try:
        _public_key(secret).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _mac(secret: str, signed: bytes) -> bytes:
    return hmac.digest(_key_bytes(secret), signed, "sha256")


def _private_key(secret: str) -> Ed25519PrivateKey:
    key = _key_bytes(secret)
    if not secret.startswith(PRIVATE_PREFIX) or len(key) != _SEED_BYTES + _PUBLIC_BYTES:
        raise ValueError("a private ed25519 key of Standard Webhooks is required")
    return Ed25519PrivateKey.from_private_bytes(key[:_SEED_BYTES])


def _public_key(secret: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(_key_bytes(verifier_of(secret)))


def _key_bytes(secret: str) -> bytes:
    """Raises ValueError for an empty key, with which everybody could sign, and for what is no base64."""
    text = secret
    for prefix in (SECRET_PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX):
        text = text.removeprefix(prefix)
    key = base64.b64decode(text, validate=True)
    if not key:
        raise ValueError("an empty secret cannot sign")
    return key
