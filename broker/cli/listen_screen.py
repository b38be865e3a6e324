"""Webhooks for people: what a stranger sent is shown as text, never obeyed as markup or by the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from broker.cli.listen_seen import Arrival, Signature

MAX_TEXT, MAX_LINK = 200, 2048
MAX_RECORDS, MAX_LINKS = 100, 20
MASK = "********"

_LINK = re.compile(r"https?://\S+", re.IGNORECASE)
_SECRET_NAME = re.compile(r"authorization|cookie|token|key|secret|password", re.IGNORECASE)
_OURS = frozenset("host connection content-type content-length accept accept-encoding user-agent".split())
_COLOURS = {Signature.RIGHT: "green", Signature.WRONG: "bold red", Signature.NOT_CHECKED: "yellow"}


@dataclass(frozen=True, slots=True)
class Screen:
    """Prints line by line, so that lines of webhooks that come together name theirs."""

    console: Console

    def say(self, text: str, style: str = "") -> None:
        self._print(Text(text, style))

    def show(self, arrival: Arrival, signature: tuple[Signature, str], repetition: str) -> None:
        """All of one webhook but what becomes of it."""
        judged, why = signature
        time = datetime.fromtimestamp(arrival.at, UTC).astimezone().strftime("%H:%M:%S")
        line = Text(
            f"{time} {arrival.method} {plain(arrival.path)}  webhook-id {plain(arrival.webhook_id) or 'none'}  "
        )
        line.append(f"signature {judged}{f' ({why})' if why else ''}", _COLOURS[judged])
        if repetition:
            line.append(f"  {repetition}", "bold magenta")
        self._print(line)
        for name, value in custom_headers(arrival.headers):
            self._print(Text(f"  {plain(name)}: {plain(value)}", "cyan"))
        for text in body_lines(arrival.body):
            self._print(Text(f"  {text}"))

    def tell(self, arrival: Arrival, what: str, style: str = "dim") -> None:
        """What became of a webhook."""
        self._print(Text(f"  {plain(arrival.webhook_id or arrival.path)}: {what}", style))

    def _print(self, line: Text) -> None:
        self.console.print(line, soft_wrap=True)


def plain(text: str, most: int = MAX_TEXT) -> str:
    """One line of at most `most` characters that a terminal only shows."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:most])
    return shown if len(text) <= most else shown + "…"


def scalar(value: Any) -> str:
    """A value of JSON that should be a word or a number; what is neither may be nested deeper than can be shown."""
    return str(value) if isinstance(value, str | int | float) else "…"


def custom_headers(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The customer's own headers; a value that looks like a secret is masked."""
    for name, value in headers.items():
        if name not in _OURS and not name.startswith("webhook-"):
            yield name, MASK if _SECRET_NAME.search(name) else value


def parsed(body: bytes) -> Any:
    """The body as JSON; None when it is something else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def body_lines(body: bytes) -> Iterator[str]:
    """Batch, records with their codes, links; of anything that is no batch, how it begins."""
    event = parsed(body)
    if not isinstance(event, dict):
        start = plain(body[: 4 * MAX_TEXT].decode("utf-8", "replace"))
        yield f"{len(body)} bytes that are no JSON object: {start}" if body else "no body"
        return
    yield (
        "  ".join(f"{name} {plain(scalar(event[name]))}" for name in ("id", "type", "status") if name in event) or "{…}"
    )
    records = records_of(event)
    for number, record in enumerate(records[:MAX_RECORDS], 1):
        yield f"record {number}  {_code(record)}"
        for name, link in list(links_of(record))[:MAX_LINKS]:
            yield f"  {plain(name)}  {plain(link, MAX_LINK)}"
    if len(records) > MAX_RECORDS:
        yield f"… {len(records) - MAX_RECORDS} more records"


def records_of(event: Any) -> list[Any]:
    """The records of a result, whatever is in them; none where there are none."""
    response = event.get("response") if isinstance(event, dict) else None
    records = response.get("records") if isinstance(response, dict) else None
    return records if isinstance(records, list) else []


def links_of(record: Any) -> Iterator[tuple[str, str]]:
    """(name, http(s) link) wherever they stand in a record, in order; its own source `_url` is none."""
    ahead: list[tuple[str, Any]] = [("", record)]
    while ahead:
        name, value = ahead.pop()
        if isinstance(value, dict):
            ahead += [(str(key), item) for key, item in reversed(value.items()) if key != "_url"]
        elif isinstance(value, list):
            ahead += [(name, item) for item in reversed(value)]
        elif isinstance(value, str) and _LINK.fullmatch(value):
            yield name, value


def _code(record: Any) -> str:
    status = record.get("_status") if isinstance(record, dict) else None
    if not isinstance(status, dict):
        return "without _status"
    return plain(f"{scalar(status.get('code', ''))} {scalar(status.get('text', ''))}".strip())
