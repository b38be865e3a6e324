"""A broker that runs, as its customers reach it."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.processes import SECONDS, Commands, Running, is_ready, until

ROOT = "/account/v2/request"
PHOTOGRAPHS = Path(__file__).parents[2] / "broker" / "cli" / "photographs"
PICTURE = PHOTOGRAPHS / "chelsea-face.webp"


def as_base64(path: Path = PICTURE) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@dataclass(frozen=True)
class Api:
    """Ximilar's routes, with one token."""

    url: str
    token: str

    @cached_property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.token}"}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=self._headers, timeout=90, trust_env=False, verify=False)

    def post(self, **body: Any) -> httpx.Response:
        return httpx.post(self.url + ROOT, json=body, headers=self._headers, timeout=90, trust_env=False, verify=False)

    def cancel(self, id: str) -> None:
        answer = httpx.post(
            f"{self.url}/api/batches/{id}/cancel", headers=self._headers, timeout=90, trust_env=False, verify=False
        )
        assert answer.status_code == 200

    def submit(self, records: Sequence[dict[str, Any]] | None = None, **body: Any) -> str:
        """The id of a new batch, of one small picture for the upscaler unless told otherwise."""
        default = {"type": "upscaler", "records": records or [{"_base64": as_base64()}]}
        answer = self.post(**{**default, **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def details(self, id: str) -> dict[str, Any]:
        answer = self.get(f"{ROOT}/{id}")
        assert answer.status_code == 200, answer.text
        details: dict[str, Any] = answer.json()
        return details

    def done(self, id: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """The records of a batch, once it is DONE."""
        end = time.monotonic() + seconds
        while True:
            answer = self.get(f"{ROOT}/{id}?wait=5").json()
            if answer["status"] == "DONE":
                records: list[dict[str, Any]] = answer["response"]["records"]
                return records
            assert time.monotonic() < end, f"batch {id} is {answer['status']} after {seconds:g} s"


@dataclass(frozen=True)
class Up:
    """A `broker up`."""

    running: Running
    folder: Path
    commands: Commands

    @property
    def url(self) -> str:
        return (self.folder / "url").read_text().strip()

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text().strip()

    @property
    def api(self) -> Api:
        return Api(self.url, self.token)


def start_up(commands: Commands, *options: str, data_dir: str = "data") -> Up:
    """Start `broker up` on a free port; returns once it is ready."""
    running = commands.start("up", "--port", "0", "--data-dir", data_dir, *options)
    up = Up(running, commands.folder / data_dir, commands)
    until(lambda: is_up(up), "`broker up` is ready")
    return up


def is_up(up: Up) -> bool:
    """Fails when the process has ended."""
    assert up.running.process.poll() is None, "`broker up` ended"
    return (up.folder / "url").exists() and up.url != "" and is_ready(up.url)
