"""The secret key and what is made of it: encrypted boxes, signatures, and the secrets that customers get.

One key of the operator becomes one subkey a purpose (HKDF-SHA256, RFC 5869). A box is
`version(1) | key id(4) | nonce(12) | AES-256-GCM(plaintext)` with the purpose as associated data. Several keys may be
given: the first writes, all read, so that a key can be replaced without downtime.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.disk import flush_folder
from broker.errors import Misconfigured

KEY_FILE = "secret_key"
MIN_KEY_LENGTH = 32
SECRET_PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
"""How Standard Webhooks 1.0 shows a shared secret and the halves of a key pair; base64 follows."""

_VERSION = b"\x01"
_ID_BYTES, _NONCE_BYTES = 4, 12
_HEAD_BYTES = len(_VERSION) + _ID_BYTES
_SEALED = _HEAD_BYTES + _NONCE_BYTES


class Purpose(StrEnum):
    """What a subkey is for. A box of one purpose cannot be opened as another."""

    WEBHOOK_TARGET = "webhook-target"
    WEBHOOK_PLACE = "webhook-place"
    WEBHOOK_ANSWER = "webhook-answer"
    WEBHOOK_SECRETS = "webhook-secrets"
    MEDIA_LINK = "media-link"
    CHECK = "check"


class Vault:
    """Seals, opens and signs with the operator's keys. Raises Misconfigured for a key that is too short."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise Misconfigured("BROKER_SECRET_KEY is not set")
        if any(len(key) < MIN_KEY_LENGTH for key in keys):
            raise Misconfigured(f"BROKER_SECRET_KEY: a key needs at least {MIN_KEY_LENGTH} characters")
        self._rings = [_Ring(key.encode()) for key in keys]

    def seal(self, purpose: Purpose, plaintext: bytes) -> bytes:
        """Encrypt and authenticate."""
        ring = self._rings[0]
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + ring.id + nonce + ring.ciphers[purpose].encrypt(nonce, plaintext, purpose.encode())

    def open(self, purpose: Purpose, box: bytes) -> bytes:
        """The plaintext of a box. Raises Misconfigured when none of the keys made it, or it was changed."""
        head, nonce, sealed = box[:_HEAD_BYTES], box[_HEAD_BYTES:_SEALED], box[_SEALED:]
        for ring in self._rings:
            if head != _VERSION + ring.id or not sealed:
                continue
            with suppress(InvalidTag):
                return ring.ciphers[purpose].decrypt(nonce, sealed, purpose.encode())
        raise Misconfigured("a stored secret cannot be read with BROKER_SECRET_KEY")

    def sign(self, purpose: Purpose, message: bytes) -> str:
        """An URL-safe HMAC-SHA256 of the message, cut to 128 bits."""
        return _signature(self._rings[0].keys[purpose], message)

    def verify(self, purpose: Purpose, message: bytes, signature: str) -> bool:
        """Whether any of the keys made this signature."""
        made = [_signature(ring.keys[purpose], message) for ring in self._rings]
        return any(hmac.compare_digest(one.encode(), signature.encode()) for one in made)

    def check_value(self) -> str:
        """A value that tells keys apart without telling them."""
        return self.sign(Purpose.CHECK, b"broker")

    def knows(self, check_value: str) -> bool:
        """Whether a stored check value was made with one of these keys."""
        return self.verify(Purpose.CHECK, b"broker", check_value)


class _Ring:
    """One key of the operator: its id, and a subkey with its cipher a purpose."""

    def __init__(self, key: bytes) -> None:
        self.id = _derive(key, b"key id")[:_ID_BYTES]
        self.keys = {purpose: _derive(key, purpose.encode()) for purpose in Purpose}
        self.ciphers = {purpose: AESGCM(subkey) for purpose, subkey in self.keys.items()}


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"broker " + purpose).derive(key)


def _signature(key: bytes, message: bytes) -> str:
    digest = hmac.digest(key, message, "sha256")[:16]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def key_of_folder(folder: Path) -> str:
    """The key in `<folder>/secret_key`, made on first use (mode 600). Safe when several processes start at once."""
    path = folder / KEY_FILE
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write_once(path, secrets.token_urlsafe(48) + "\n")
    key = path.read_text().strip()
    if not key:
        raise Misconfigured(f"{KEY_FILE} in the data folder is empty; restore it from a backup")
    return key


def _write_once(path: Path, text: str) -> None:
    """Write a private file that is either absent or whole; whoever comes second changes nothing."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    flush_folder(path.parent)


def new_token() -> str:
    """A fresh API token: 40 hexadecimal characters."""
    return secrets.token_hex(20)


def token_hash(token: str) -> str:
    """What is stored of a token. It has 160 random bits, so a plain SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_webhook_secret() -> str:
    """A shared signing secret as Standard Webhooks 1.0 shows it: `whsec_` and base64 of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(32)).decode()


def new_webhook_key_pair() -> str:
    """An ed25519 key pair as Standard Webhooks 1.0 shows it: `whsk_` and base64 of seed and public key, 64 bytes."""
    key = Ed25519PrivateKey.generate()
    pair = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + base64.b64encode(pair).decode()
