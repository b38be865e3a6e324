"""Signatures of Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, the raw bytes as they are sent."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE = 300


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """One symmetric signature, `v1,<base64>`. `secret` is `whsec_` and base64; `timestamp` in seconds since 1970."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b"%b.%d.%b" % (id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def signed_headers(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The three headers; with several secrets, during a rotation, one signature each, the newest first."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(secret, id, timestamp, body) for secret in secrets),
    }


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether any signature is one of ours and the timestamp is within five minutes of `now`. Names in lower case."""
    timestamp = headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    made = [sign(secret, headers.get("webhook-id", ""), int(timestamp), body).encode() for secret in secrets]
    sent = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(ours, theirs) for ours in made for theirs in sent)
