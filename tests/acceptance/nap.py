"""Batches of the type `sleepy`, whose records end when the test says so."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.broker import Api, as_base64


@dataclass(frozen=True)
class Nap:
    """A batch whose last record waits for a gate."""

    folder: Path

    @property
    def runs(self) -> list[int]:
        """The records' places, one entry for each time that one was begun."""
        with suppress(FileNotFoundError):
            return sorted(int(line) for line in (self.folder / "runs").read_text().split())
        return []

    def submit(self, api: Api, quick: int, stubborn: bool = False) -> str:
        """`quick` records that end at once, then one that waits."""
        return self.submit_records(api, *({"waits": place == quick} for place in range(quick + 1)), stubborn=stubborn)

    def submit_records(self, api: Api, *records: dict[str, Any], type: str = "sleepy", **body: Any) -> str:
        files = {"runs": str(self.folder / "runs"), "gate": str(self.folder / "gate")}
        return api.submit([{"_base64": as_base64(), **record} for record in records], type=type, **files, **body)

    def open_gate(self) -> None:
        (self.folder / "gate").touch()
