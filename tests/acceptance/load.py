"""Customers that POST without a pause while a test breaks things, and remember what they were answered."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.acceptance.broker import ROOT, Api, as_base64
from tests.acceptance.processes import until

PAUSE = 0.1


@dataclass
class Load:
    """Batches of the type `sleepy` that end at once.

    `accepted`: ids of 201s. `refused`: 503s with Retry-After. `wrong`: every other answer, and what was none.
    """

    api: Api
    runs: Path
    accepted: list[str] = field(default_factory=list)
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def goes_on(self) -> None:
        """Returns once a few more batches have been accepted."""
        before = len(self.accepted)
        until(lambda: len(self.accepted) >= before + 4, "batches are accepted")

    def meets_refusal(self) -> None:
        """Returns once a POST more has been refused."""
        before = self.refused
        until(lambda: self.refused > before, "a POST is refused")

    @contextmanager
    def running(self, customers: int = 2) -> Iterator[None]:
        threads = [threading.Thread(target=self._customer) for _ in range(customers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _customer(self) -> None:
        """Each POST has a key of its own and is repeated until it is accepted."""
        with httpx.Client(
            headers={"Authorization": f"Token {self.api.token}"}, timeout=60, trust_env=False, verify=False
        ) as client:
            while not self._stop.is_set():
                key = uuid.uuid4().hex
                while not self._post(client, key) and not self._stop.wait(PAUSE):
                    pass
                self._stop.wait(PAUSE)

    def _post(self, client: httpx.Client, key: str) -> bool:
        body = {"type": "sleepy", "runs": str(self.runs), "records": [{"_base64": as_base64()}]}
        try:
            answer = client.post(self.api.url + ROOT, json=body, headers={"Idempotency-Key": key})
        except httpx.HTTPError as error:
            self.wrong.append(repr(error))
            return False
        if answer.status_code == 201:
            self.accepted.append(answer.json()["id"])
        elif answer.status_code == 503 and int(answer.headers.get("Retry-After", 0)) > 0:
            self.refused += 1
        else:
            self.wrong.append(f"{answer.status_code} {answer.text}")
        return answer.status_code == 201
