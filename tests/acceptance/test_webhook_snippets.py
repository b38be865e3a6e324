"""The verifying code of docs/webhooks.md, run against a webhook that a real worker sent."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from broker.batches import new_id
from tests.acceptance.broker import Api, Up
from tests.acceptance.processes import Commands
from tests.acceptance.receiver import Receiver

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
PYTHON = "import json, sys; got = json.load(open('request.json')); body = open('body', 'rb').read()"
NODE = ("Node with standardwebhooks", "Node by hand", "Node with a public key")
PACKAGES = Path(__file__).parents[1] / "npm"
SNIPPETS = (
    "Python with standardwebhooks",
    "Python by hand",
    "Python with a public key",
    "Shell",
    # The page says so: what needs a program that this project does not require is run where that is installed.
    *(NODE if shutil.which("node") else ()),
)


@dataclass(frozen=True)
class Signed:
    """A webhook, and the secret or public key that its receiver has."""

    secret: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def signed(self) -> bytes:
        return f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body

    def with_header(self, name: str, value: str) -> Signed:
        return replace(self, headers={**self.headers, name: value})

    def signed_at(self, off: timedelta) -> Signed:
        """The same with a right signature that was made at another time.

        By the reference library, or, since nobody else can sign for the broker's key pair, by a pair of the test's own.
        """
        at = datetime.now(UTC) + off
        dated = self.with_header("webhook-timestamp", str(int(at.timestamp())))
        if not self.secret.startswith("whpk_"):
            signature = Webhook(self.secret).sign(self.headers["webhook-id"], at, self.body.decode())
            return dated.with_header("webhook-signature", signature)
        pair = Ed25519PrivateKey.generate()
        public = f"whpk_{base64.b64encode(pair.public_key().public_bytes_raw()).decode()}"
        signature = base64.b64encode(pair.sign(dated.signed)).decode()
        return replace(dated.with_header("webhook-signature", f"v1a,{signature}"), secret=public)

    def forged(self, version: str) -> Signed:
        """The same as a stranger signs it who takes a public key, which anybody may have, for a shared secret."""
        key = base64.b64decode(self.secret.partition("_")[2])
        mac = base64.b64encode(hmac.digest(key, self.signed, "sha256")).decode()
        return self.with_header("webhook-signature", f"{version},{mac}")


@dataclass(frozen=True)
class Snippet:
    """The code block under a heading of the page, ready to be run in a folder."""

    heading: str
    folder: Path

    @property
    def code(self) -> str:
        found = re.search(rf"^### {self.heading}\n.*?^```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        assert found, self.heading
        return found[1]

    def accepts(self, signed: Signed) -> bool:
        """Fails when the code neither accepts nor refuses, as by an exception."""
        (self.folder / "body").write_bytes(signed.body)
        (self.folder / "request.json").write_text(json.dumps({"secret": signed.secret, "headers": signed.headers}))
        if self.heading == "Shell":
            return self._accepted_by_shell(signed)
        done = self._run(*self._program())
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return {"accepted\n": True, "refused\n": False}[done.stdout]

    def _program(self) -> list[str]:
        """The code and a call of it."""
        if self.heading.startswith("Python"):
            call = "print('accepted' if verify(got['secret'], got['headers'], body) else 'refused')"
            return [sys.executable, "-c", f"{self.code}\n{PYTHON}\n{call}"]
        read = "const got = JSON.parse(readFileSync('request.json')); const body = readFileSync('body');"
        call = "console.log(verify(got.secret, got.headers, body) ? 'accepted' : 'refused');"
        _install_packages(self.folder / "node_modules")
        program = self.folder / "program.mjs"
        program.write_text(f"import {{ readFileSync }} from 'node:fs';\n{self.code}\n{read}\n{call}\n")
        return ["node", str(program)]

    def _accepted_by_shell(self, signed: Signed) -> bool:
        headers = {name.upper().replace("-", "_"): value for name, value in signed.headers.items()}
        done = self._run("sh", "-c", self.code, WEBHOOK_SECRET=signed.secret, **headers)
        assert (done.returncode in (0, 1), done.stderr, done.stdout) == (True, "", "")
        return done.returncode == 0

    def _run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with (self.folder / "body").open("rb") as body:
            return subprocess.run(
                command,
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=body,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )


def _install_packages(folder: Path) -> None:
    """What npm would put there: the page's package and the two that it needs, as they are published."""
    for name, file in (
        ("standardwebhooks", "standardwebhooks-1.1.1.tgz"),
        ("@stablelib/base64", "stablelib-base64-1.0.1.tgz"),
        ("fast-sha256", "fast-sha256-1.3.0.tgz"),
    ):
        with tarfile.open(PACKAGES / file) as package:
            for member in package:
                content = package.extractfile(member)
                assert content, member.name
                path = folder / name / member.name.removeprefix("package/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


@pytest.fixture
def signed(heading: str, up: Up, commands: Commands, receiver: Receiver) -> Signed:
    """A webhook as a worker sent it, with what the operator's command tells its receiver to verify with."""
    here = commands.with_environment(BROKER_DATA_DIR=str(up.folder))
    api, secret = _with_public_key(here, up) if "public key" in heading else _with_secret(here, up)
    api.submit(webhook={"endpoint": receiver.url})
    received = receiver.next()
    headers = {name.lower(): value for name, value in received.headers.items()}
    return Signed(secret, {name: headers[name] for name in headers if name.startswith("webhook-")}, received.body)


def _with_secret(here: Commands, up: Up) -> tuple[Api, str]:
    shown = here.run("webhook-secret", "show")
    secret = re.search(r"whsec_[A-Za-z0-9+/]+=*", shown.out)
    assert secret, shown.err
    return up.api, secret[0]


def _with_public_key(here: Commands, up: Up) -> tuple[Api, str]:
    """In a workspace of the test's own, as others verify by the secret of the first one."""
    workspace = f"of {new_id()}"
    created = here.run("workspace", "create", workspace)
    assert created.code == 0, created.err
    token = here.run("token", "create", "--workspace", workspace)
    assert token.code == 0, token.err
    rotated = here.run("webhook-secret", "rotate", "--workspace", workspace, "--ed25519")
    assert rotated.out.startswith("whpk_"), rotated.err
    return Api(up.url, token.out.strip()), rotated.out.strip()


@pytest.mark.parametrize("heading", SNIPPETS)
def test_the_pages_code_accepts_the_brokers_webhook_and_nothing_else(
    signed: Signed, heading: str, tmp_path: Path
) -> None:
    snippet = Snippet(heading, tmp_path)
    signature, timestamp = signed.headers["webhook-signature"], int(signed.headers["webhook-timestamp"])
    others = f"v1,{'A' * 43}= v1a,AA== v1a,{'A' * 86}=="
    right = {
        "as it came": signed,
        "signed again now": signed.signed_at(timedelta(0)),
        "another signature before it": signed.with_header("webhook-signature", f"{others} {signature}"),
        "another signature after it": signed.with_header("webhook-signature", f"{signature} {others}"),
    }
    wrong = {
        "changed body": replace(signed, body=signed.body.replace(b"DONE", b"DOOM")),
        "longer body": replace(signed, body=signed.body + b"\n"),
        "signed seven minutes ago": signed.signed_at(timedelta(minutes=-7)),
        "signed in seven minutes": signed.signed_at(timedelta(minutes=7)),
        "claimed to be a second older": signed.with_header("webhook-timestamp", str(timestamp - 1)),
        "timestamp is no number": signed.with_header("webhook-timestamp", "now"),
        "timestamp is empty": signed.with_header("webhook-timestamp", ""),
        "timestamp is very long": signed.with_header("webhook-timestamp", "9" * 5000),
        "another secret": replace(signed, secret=f"{signed.secret.partition('_')[0]}_{'A' * 43}="),
        "another id": signed.with_header("webhook-id", "other"),
        "signature of another version": signed.with_header("webhook-signature", re.sub(r"v1a?,", "v2,", signature)),
        "no signature": signed.with_header("webhook-signature", ""),
        "signature of no known form": signed.with_header("webhook-signature", "v1 v1,a,b v1a v1a,a,b v1a,* * ,"),
    }
    if signed.secret.startswith("whpk_"):
        wrong |= {f"forged as {version}": signed.forged(version) for version in ("v1", "v1a")}
    assert [name for name, case in right.items() if not snippet.accepts(case)] == []
    assert [name for name, case in wrong.items() if snippet.accepts(case)] == []


def test_the_page_tells_of_every_snippet_whether_it_is_run() -> None:
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    table = PAGE.partition("| language | signature | with |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| (Python|Node|PHP|shell) \| v1a? \|[^|]+\| (yes|no)\b", table, re.MULTILINE)
    assert len(told) == len(headings)
    run = {(language, heading) for (language, is_run), heading in zip(told, headings, strict=True) if is_run == "yes"}
    assert all(heading.lower().startswith(language.lower()) for language, heading in run)
    assert {heading for _, heading in run} == {*SNIPPETS, *NODE}


def test_the_page_tells_the_options_that_listen_has(commands: Commands) -> None:
    table = PAGE.partition("## Trying it out")[2]
    shown = commands.with_environment(COLUMNS="200").run("listen", "--help").out
    assert set(re.findall(r"--[a-z]+", table)) - {"--allow"} == set(re.findall(r"--[a-z]+", shown)) - {"--help"}
