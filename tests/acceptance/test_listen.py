"""`broker listen`: the real command, fed by a real broker and by strangers."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from broker.cli.commands import app
from broker.cli.listen_app import MAX_BODY
from broker.errors import Invalid
from tests.acceptance.broker import PICTURE, Up
from tests.acceptance.processes import Commands, Running, until
from tests.acceptance.receiver import Receiver

SECRET, OTHER_SECRET = "whsec_" + "A" * 43 + "=", "whsec_" + "B" * 42 + "A="


NESTED = b'{"id":%b,"status":%b,"response":{"records":[{"_status":{"code":%b,"text":[]}}]}}' % (
    (b"[" * 900 + b"]" * 900,) * 3
)


@dataclass(frozen=True)
class Listening:
    """A `broker listen` that is ready."""

    running: Running

    @property
    def said(self) -> str:
        return self.running.out.read_text()

    @property
    def url(self) -> str:
        found = re.search(r'"endpoint": "(http://[^"]+/)"', self.said)
        assert found, self.said
        return found[1]

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        return httpx.post(self.url, content=body, headers=headers, timeout=60, trust_env=False, verify=False)

    def until_says(self, text: str) -> None:
        until(lambda: self.running.says(text), f"`broker listen` says {text!r}")


def listen(commands: Commands, *options: str) -> Listening:
    running = commands.start("listen", "--port", "0", *options)
    until(lambda: "Put " in running.out.read_text() or running.process.poll() is not None, "`broker listen` is ready")
    return Listening(running)


@pytest.fixture
def here(commands: Commands, up: Up) -> Commands:
    """Commands that find the shared broker's data folder."""
    return commands.with_environment(BROKER_DATA_DIR=str(up.folder))


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_webhook_is_shown_and_verified_and_its_pictures_are_saved(here: Commands, up: Up) -> None:
    listening = listen(here, "--save", "pictures")
    headers = {"X-Customer": "my own", "Authorization": "Bearer hidden-1", "X-Api-Key": "hidden-2"}
    id = up.api.submit(webhook={"endpoint": f"{listening.url}hook?code=hidden-3", "headers": headers})
    listening.until_says("saved ")
    said = listening.said
    assert said.startswith('Put "webhook": {"endpoint": "http://127.0.0.1:')
    assert "broker up --allow-network 127.0.0.0/8" in said.splitlines()[0]
    assert re.search(r"^\d\d:\d\d:\d\d POST /hook\?…  webhook-id [0-9a-f-]{36}  signature right$", said, re.MULTILINE)
    assert "  x-customer: my own\n  authorization: ********\n  x-api-key: ********\n" in said
    assert "hidden" not in said
    assert (
        f"  id {id}  type upscaler  status DONE\n  record 1  200 OK\n    _upscaled_image_url  {up.url}/media/" in said
    )
    assert "repetition" not in said
    (saved,) = (here.folder / "pictures").iterdir()
    assert saved.name.startswith(f"{id}-1-1-")
    with Image.open(saved) as after, Image.open(PICTURE) as before:
        assert after.size == (2 * before.width, 2 * before.height)


def test_another_secret_is_a_wrong_signature_and_leads_to_no_download(here: Commands, up: Up) -> None:
    listening = listen(here, "--secret", SECRET, "--secret", OTHER_SECRET, "--save", "pictures")
    up.api.submit(webhook={"endpoint": listening.url})
    listening.until_says("not saved")
    assert "signature wrong (of other bytes or by another secret)" in listening.said
    assert not (here.folder / "pictures").exists()


def test_a_chosen_status_makes_the_broker_try_again_which_is_told_as_a_repetition(here: Commands, up: Up) -> None:
    listening = listen(here, "--status", "500")
    up.api.submit(webhook={"endpoint": listening.url})
    listening.until_says("repetition, number 2 of this id")
    assert listening.said.count("signature right") == 2
    assert "OTHER BYTES" not in listening.said
    assert "answered 500" in listening.said


def test_without_secret_and_data_nothing_is_checked_and_made_and_only_the_broker_is_asked(commands: Commands) -> None:
    listening = listen(commands.with_environment(BROKER_URL="http://127.0.0.1:1/"), "--save", "pictures")
    forged = b'{"response": {"records": [{"a": "http://127.0.0.1:1/a.jpg", "b": "http://127.0.0.1:2/b.jpg"}]}}'
    assert listening.post(forged).status_code == 200
    assert "Signatures are not checked: there is no --secret, and no broker's data in data." in listening.said
    assert "webhook-id none  signature not checked" in listening.said
    listening.until_says("2/b.jpg: the signature is not checked, and this is not on the broker's own URL")
    assert "1/a.jpg: All connection attempts failed" in listening.said  # it was looked for, on the broker alone
    assert not (commands.folder / "data").exists()


def test_an_unusable_database_is_told_and_nothing_is_checked(commands: Commands) -> None:
    nowhere = commands.with_environment(BROKER_DATABASE_URL="postgresql://x@127.0.0.1:1/x", BROKER_SECRET_KEY="k" * 40)
    listening = listen(nowhere)
    assert listening.post(b"{}").status_code == 200
    assert "Signatures are not checked: the database cannot be reached" in listening.said


def test_a_body_of_any_kind_is_shown_and_answered(commands: Commands) -> None:
    listening = listen(commands, "--save", "pictures")
    for body in (
        b"",
        b"\xff\x00\x1b[2J",
        b"[1]",
        b"[" * 100_000,
        b'{"response":{"records":[1,{"_status":7},null]}}',
        NESTED,
    ):
        assert listening.post(body, **{"Content-Type": "text/plain"}).status_code == 200
    assert httpx.get(listening.url + "any/where", trust_env=False, verify=False).status_code == 200
    said = listening.said
    assert "no body" in said
    assert "6 bytes that are no JSON object: " in said
    assert "\x1b[2J" not in said
    assert "100000 bytes that are no JSON object" in said
    assert said.count("without _status") == 3
    assert "  id …  status …\n  record 1  … …\n" in said
    assert "GET /any/where" in said


def test_a_body_over_the_cap_is_413_whether_its_length_is_declared_or_not(commands: Commands) -> None:
    listening = listen(commands)
    parts = (b" " * (MAX_BODY // 32) for _ in range(33))
    undeclared = httpx.post(listening.url, content=parts, timeout=60, trust_env=False, verify=False)
    assert (listening.post(bytes(MAX_BODY + 1)).status_code, undeclared.status_code) == (413, 413)
    assert listening.post(bytes(MAX_BODY)).status_code == 200
    assert listening.said.count("The request body is too large. Answered 413") == 2


def test_a_body_that_ends_early_is_told_and_the_next_is_taken(commands: Commands) -> None:
    listening = listen(commands)
    with socket.create_connection(("127.0.0.1", urlsplit(listening.url).port or 0)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: [\r\nContent-Length: 10\r\n\r\nabc")
    listening.until_says("The body ended early.")
    assert listening.post(b"{}").status_code == 200


def test_what_comes_is_forwarded_as_it_came_and_its_answer_comes_back(commands: Commands, receiver: Receiver) -> None:
    receiver.statuses += [418]
    listening = listen(commands, "--forward", f"{receiver.url}/api/hook?a=b", "--status", "299")
    body = bytes(range(256))
    answer = listening.post(body, **{"X-Mine": "1", "X-Hop": "2", "Connection": "close, X-Hop", "TE": "trailers"})
    forwarded = receiver.next()
    headers = {name.lower(): value for name, value in forwarded.headers.items()}
    assert (answer.status_code, forwarded.path, forwarded.body) == (418, "/api/hook?a=b", body)
    assert answer.headers["server"].startswith("BaseHTTP")
    assert headers == {
        "host": receiver.url.removeprefix("http://"),
        "accept": "*/*",
        "accept-encoding": headers["accept-encoding"],
        "user-agent": headers["user-agent"],
        "content-length": "256",
        "x-mine": "1",
    }
    listening.until_says("forwarded; answered 418")


def test_forwarding_to_nobody_is_a_502(commands: Commands, free_port: int) -> None:
    listening = listen(commands, "--forward", f"http://127.0.0.1:{free_port}/")
    assert listening.post(b"{}").status_code == 502
    listening.until_says("answered 502")
    assert "not forwarded: " in listening.said


def test_the_answer_waits_for_the_delay(commands: Commands) -> None:
    listening = listen(commands, "--delay", "0.5", "--status", "204")
    begun = time.monotonic()
    assert listening.post(b"{}").status_code == 204
    assert time.monotonic() - begun >= 0.5


@pytest.mark.parametrize("delay", ["0", "600"])
def test_ctrl_c_ends_it_with_status_0_also_during_a_delay(commands: Commands, delay: str) -> None:
    listening = listen(commands, "--delay", delay)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(listening.post, b"{}")
        listening.until_says("signature not checked")
        listening.running.interrupt()
        assert listening.running.wait() == 0
        assert answer.result().status_code == (503 if delay == "600" else 200)
    assert "Traceback" not in listening.running.err.read_text()


def test_sigterm_ends_it_with_status_0(commands: Commands) -> None:
    listening = listen(commands)
    assert listening.post(b"{}").status_code == 200
    listening.running.signal(signal.SIGTERM)
    assert listening.running.wait() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--secret", "whsec_n"],
            "--secret: `whsec_` or `whpk_` and base64 is needed, as `broker webhook-secret show` prints it",
        ),
        (["--forward", "localhost:80"], "--forward localhost:80: an http(s) URL is needed"),
        (["--forward", "http://[::1"], "--forward http://[::1: an http(s) URL is needed"),
        (["--forward", "http:///x"], "--forward http:///x: an http(s) URL is needed"),
    ],
)
def test_a_wrong_option_is_named(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["listen", "--port", "0", *options])
    assert isinstance(result.exception, Invalid)
    assert result.exception.message == message


@pytest.mark.parametrize(
    ("option", "value"),
    [("--delay", "nan"), ("--delay", "inf"), ("--delay", "-1"), ("--status", "101"), ("--port", "65536")],
)
def test_a_number_out_of_its_range_is_refused(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["listen", option, value])
    assert (result.exit_code, option in result.output) == (2, True)


def test_a_port_that_is_taken_is_a_message(commands: Commands, receiver: Receiver) -> None:
    done = commands.run("listen", "--port", receiver.url.rpartition(":")[2])
    assert (done.code, "cannot listen on 127.0.0.1 port" in done.err) == (1, True)
    assert "Traceback" not in done.err
