"""The vault: what it seals only it opens; signatures; the key file of a data folder."""

from __future__ import annotations

import base64
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.errors import Misconfigured
from broker.secrets import (
    KEY_FILE,
    MIN_KEY_LENGTH,
    Purpose,
    Vault,
    key_of_folder,
    new_token,
    new_webhook_key_pair,
    new_webhook_secret,
    token_hash,
)

NEW, OLD, OTHER = ("n" * 40, "o" * 40, "x" * 40)
TARGET = Purpose.WEBHOOK_TARGET


@pytest.mark.parametrize("plaintext", [b"", b"a", b"\x00\xff" * 5000], ids=["empty", "short", "long"])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_box_opens_to_what_was_sealed(purpose: Purpose, plaintext: bytes) -> None:
    assert Vault([NEW]).open(purpose, Vault([NEW]).seal(purpose, plaintext)) == plaintext


def test_a_box_hides_its_content_and_no_two_are_alike() -> None:
    vault = Vault([NEW])
    boxes = {vault.seal(TARGET, b"https://hook.example/secret-path") for _ in range(50)}
    assert len(boxes) == 50
    assert not any(b"hook.example" in box or NEW.encode() in box for box in boxes)


def test_another_key_does_not_open_a_box() -> None:
    with pytest.raises(Misconfigured, match="BROKER_SECRET_KEY"):
        Vault([OTHER]).open(TARGET, Vault([NEW]).seal(TARGET, b"x"))


def test_another_purpose_does_not_open_a_box() -> None:
    vault = Vault([NEW])
    box = vault.seal(TARGET, b"x")
    for purpose in set(Purpose) - {TARGET}:
        with pytest.raises(Misconfigured):
            vault.open(purpose, box)


def test_a_box_that_was_changed_anywhere_does_not_open() -> None:
    vault = Vault([NEW])
    box = vault.seal(TARGET, b"https://hook.example")
    for place in range(len(box)):
        changed = bytearray(box)
        changed[place] ^= 1
        with pytest.raises(Misconfigured):
            vault.open(TARGET, bytes(changed))


def test_a_box_that_was_cut_or_lengthened_does_not_open() -> None:
    vault = Vault([NEW])
    box = vault.seal(TARGET, b"https://hook.example")
    for broken in [box[:length] for length in range(len(box))] + [box + b"\x00", b"\x00" + box]:
        with pytest.raises(Misconfigured):
            vault.open(TARGET, broken)


def test_keys_can_be_replaced_while_boxes_and_signatures_live() -> None:
    before, during, after = Vault([OLD]), Vault([NEW, OLD]), Vault([NEW])
    old_box, old_signature = before.seal(TARGET, b"x"), before.sign(Purpose.MEDIA_LINK, b"m")
    assert during.open(TARGET, old_box) == b"x"
    assert during.verify(Purpose.MEDIA_LINK, b"m", old_signature)
    assert after.open(TARGET, during.seal(TARGET, b"y")) == b"y"
    assert after.verify(Purpose.MEDIA_LINK, b"m", during.sign(Purpose.MEDIA_LINK, b"m"))
    assert not after.verify(Purpose.MEDIA_LINK, b"m", old_signature)
    with pytest.raises(Misconfigured):
        after.open(TARGET, old_box)


def test_the_check_value_tells_a_wrong_key() -> None:
    stored = Vault([OLD]).check_value()
    assert Vault([OLD]).knows(stored)
    assert Vault([NEW, OLD]).knows(stored)
    assert not Vault([NEW]).knows(stored)
    assert not Vault([OLD]).knows("")
    assert OLD not in stored


@pytest.mark.parametrize("forged", ["", "A", "é", "A" * 22, "=" * 22])
def test_a_forged_signature_is_refused(forged: str) -> None:
    assert not Vault([NEW]).verify(Purpose.MEDIA_LINK, b"m", forged)


def test_a_signature_holds_for_one_message_and_purpose() -> None:
    vault = Vault([NEW])
    signature = vault.sign(Purpose.MEDIA_LINK, b"message")
    assert vault.verify(Purpose.MEDIA_LINK, b"message", signature)
    assert not vault.verify(Purpose.MEDIA_LINK, b"massage", signature)
    assert not vault.verify(Purpose.CHECK, b"message", signature)
    assert not vault.verify(Purpose.MEDIA_LINK, b"message", signature + "A")
    assert len(base64.urlsafe_b64decode(signature + "==")) == 16


@pytest.mark.parametrize("keys", [[], ["short"], ["k" * (MIN_KEY_LENGTH - 1)], [NEW, "short"], [""]])
def test_a_missing_or_short_key_is_refused(keys: list[str]) -> None:
    with pytest.raises(Misconfigured, match="BROKER_SECRET_KEY"):
        Vault(keys)


def test_the_key_of_a_folder_is_made_once_private_and_long_enough(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    key = key_of_folder(folder)
    assert key_of_folder(folder) == key
    assert key != key_of_folder(tmp_path / "other")
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]
    Vault([key])


def test_threads_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    for round in range(20):
        folder = tmp_path / str(round)
        with ThreadPoolExecutor(8) as threads:
            keys = set(threads.map(key_of_folder, [folder] * 8))
        assert keys == {(folder / KEY_FILE).read_text().strip()}
        assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from broker.secrets import key_of_folder; " + (
        "sys.stdin.readline(); sys.stdout.write(key_of_folder(Path(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    keys = {process.communicate("go\n")[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 8
    assert keys == {(tmp_path / KEY_FILE).read_text().strip()}
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_an_empty_key_file_is_refused_not_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("\n")
    with pytest.raises(Misconfigured, match="restore"):
        key_of_folder(tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == "\n"


def test_tokens_are_random_and_known_by_their_hash() -> None:
    tokens = [new_token() for _ in range(100)]
    assert len(set(tokens)) == 100
    assert all(len(token) == 40 and int(token, 16) for token in tokens)
    assert token_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_webhook_secret_has_the_standard_form() -> None:
    secret = new_webhook_secret()
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert secret != new_webhook_secret()


def test_a_webhook_key_pair_has_the_standard_form() -> None:
    pair = new_webhook_key_pair()
    assert pair.startswith("whsk_")
    key = base64.b64decode(pair.removeprefix("whsk_"), validate=True)
    assert Ed25519PrivateKey.from_private_bytes(key[:32]).public_key().public_bytes_raw() == key[32:]
    assert pair != new_webhook_key_pair()
