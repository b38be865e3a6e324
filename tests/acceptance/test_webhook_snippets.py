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
from collections.abc import Mapping, Sequence
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
PYTHON = """
import base64, json
for got in json.load(open("got.json")):
    body = base64.b64decode(got["body"])
    print("accepted" if verify(got["secret"], got["headers"], body) else "refused")
"""
JAVASCRIPT = """
for (const got of JSON.parse(readFileSync('got.json'))) {
    const body = Buffer.from(got.body, 'base64');
    console.log(verify(got.secret, got.headers, body) ? 'accepted' : 'refused');
}
"""
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

    def accepted(self, cases: Mapping[str, Signed]) -> set[str]:
        """Names of the cases that the code accepts. Fails when it neither accepts nor refuses one, as by an exception.

        One program verifies all, as a receiver does; the shell's code is itself a program for one.
        """
        if self.heading == "Shell":
            return {name for name, case in cases.items() if self._accepted_by_shell(case)}
        done = self.judged([*cases.values()])
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        said = [{"accepted": True, "refused": False}[line] for line in done.stdout.splitlines()]
        return {name for name, accepted in zip(cases, said, strict=True) if accepted}

    def judged(self, cases: Sequence[Signed]) -> subprocess.CompletedProcess[str]:
        """What came of one program that verifies all; not for the shell's code."""
        got = [
            {"secret": case.secret, "headers": case.headers, "body": base64.b64encode(case.body).decode()}
            for case in cases
        ]
        (self.folder / "got.json").write_text(json.dumps(got))
        return self._run(*self._program())

    def _program(self) -> list[str]:
        """The code and a call of it for each case."""
        if self.heading.startswith("Python"):
            return [sys.executable, "-c", f"{self.code}\n{PYTHON}"]
        _install_packages(self.folder / "node_modules")
        program = self.folder / "program.mjs"
        program.write_text(f"import {{ readFileSync }} from 'node:fs';\n{self.code}\n{JAVASCRIPT}")
        return ["node", str(program)]

    def _accepted_by_shell(self, signed: Signed) -> bool:
        headers = {name.upper().replace("-", "_"): value for name, value in signed.headers.items()}
        done = self._run("sh", "-c", self.code, body=signed.body, WEBHOOK_SECRET=signed.secret, **headers)
        assert (done.returncode in (0, 1), done.stderr, done.stdout) == (True, "", "")
        return done.returncode == 0

    def _run(self, *command: str, body: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **environment},
            input=body.decode(),
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


@pytest.fixture(scope="module")
def with_secret(up: Up) -> tuple[Api, str]:
    """Who submits, and what the operator's command tells their receiver to verify with."""
    shown = up.commands.with_environment(BROKER_DATA_DIR=str(up.folder)).run("webhook-secret", "show")
    secret = re.fullmatch(r"(whsec_[A-Za-z0-9+/]+=*)  v1  signs\n", shown.out)  # as the page shows it
    assert secret, shown
    return up.api, secret[1]


@pytest.fixture(scope="module")
def with_public_key(up: Up) -> tuple[Api, str]:
    """The same in a workspace of its own, as others verify by the secret of the first one."""
    here, workspace = up.commands.with_environment(BROKER_DATA_DIR=str(up.folder)), f"of {new_id()}"
    created = here.run("workspace", "create", workspace)
    assert created.code == 0, created.err
    token = here.run("token", "create", "--workspace", workspace)
    assert token.code == 0, token.err
    rotated = here.run("webhook-secret", "rotate", "--workspace", workspace, "--ed25519")
    assert rotated.out.startswith("whpk_"), rotated.err
    return Api(up.url, token.out.strip()), rotated.out.strip()


@pytest.fixture
def signed(heading: str, request: pytest.FixtureRequest, receiver: Receiver) -> Signed:
    """A webhook as a worker sent it just now."""
    api, secret = request.getfixturevalue("with_public_key" if "public key" in heading else "with_secret")
    api.submit(webhook={"endpoint": receiver.url})
    received = receiver.next()
    headers = {name.lower(): value for name, value in received.headers.items()}
    return Signed(secret, {name: headers[name] for name in headers if name.startswith("webhook-")}, received.body)


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
    assert snippet.accepted(right | wrong) == right.keys()


@pytest.mark.parametrize("heading", [heading for heading in SNIPPETS if heading.endswith("standardwebhooks")])
def test_a_malformed_secret_of_ones_own_is_an_error_and_no_refusal(heading: str, tmp_path: Path) -> None:
    done = Snippet(heading, tmp_path).judged([Signed("whsec_A", {}, b"{}")])
    assert (done.returncode, done.stdout) == (1, "")
    assert "base64" in done.stderr.lower()


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
