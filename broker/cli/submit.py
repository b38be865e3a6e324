"""`broker submit`: files, folders or URLs, in batches of ten."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from broker.cli.client import Client
from broker.cli.processes import run
from broker.cli.tables import console, new_table
from broker.dialects.ximilar.wire import MAX_RECORDS
from broker.errors import BrokerError, Invalid
from broker.settings import load

PICTURES = frozenset(".jpg .jpeg .jfif .png .webp .gif .tif .tiff .bmp .heic .heif .avif".split())
WAIT_SECONDS = 20.0
AT_ONCE = 8
ENVELOPE_BYTES = 64 * 1024


def submit(
    sources: Annotated[list[str], typer.Argument(help="Picture files, folders of them, or http(s) URLs.")],
    type: Annotated[str, typer.Option(help="What shall be done.")] = "upscaler",
    endpoint: Annotated[str | None, typer.Option(help="Which of the type's operations.")] = None,
    param: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter; JSON or text.")] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="Where to announce each batch's end.")] = None,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME:VALUE", help="Sent with the webhook.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the results and save the output pictures.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for output pictures, with --wait.")] = Path("output"),
) -> None:
    """Submit pictures; prints the batches' ids, or with --wait a table of results."""
    extra: dict[str, Any] = {"type": type, **dict(_param(text) for text in param or [])}
    if endpoint:
        extra["endpoint"] = endpoint
    if header and not webhook:
        raise Invalid("--header is sent with the webhook; give --webhook, or leave it out")
    if webhook:
        extra["webhook"] = {"endpoint": webhook, "headers": dict(_header(text) for text in header or [])}
    pictures = [picture for source in sources for picture in _expand(source)]
    if not pictures:
        raise Invalid("there are no pictures there")
    run(_submit(pictures, extra, output if wait else None))


@dataclass(frozen=True, slots=True)
class Picture:
    """One input: a local file or a URL."""

    source: str
    path: Path | None

    def record(self) -> dict[str, Any]:
        if self.path is None:
            return {"_url": self.source}
        return {"_base64": base64.b64encode(self.path.read_bytes()).decode()}

    @property
    def bytes_in_body(self) -> int:
        """How much of a POST's body its record takes, about."""
        return len(self.source) if self.path is None else 4 * self.path.stat().st_size // 3 + 64

    @property
    def stem(self) -> str:
        name = self.path.name if self.path else Path(unquote(urlsplit(self.source).path)).name
        return Path(name).stem or "picture"


async def _submit(pictures: Sequence[Picture], extra: dict[str, Any], output: Path | None) -> None:
    parts = _split(pictures, load().max_body_bytes - ENVELOPE_BYTES)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with Client.of_environment() as client:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("submitted" if output is None else "done", total=len(pictures))
            gate = asyncio.Semaphore(AT_ONCE)

            async def one(part: Sequence[Picture]) -> dict[str, Any]:
                async with gate:
                    records = await asyncio.to_thread(lambda: [picture.record() for picture in part])
                    batch = await client.submit({**extra, "records": records})
                    while output is not None and batch["status"] != "DONE":
                        batch = await client.details(batch["id"], WAIT_SECONDS)
                    progress.advance(bar, len(part))
                    return batch

            ends = await asyncio.gather(*(one(part) for part in parts), return_exceptions=True)
        # What was accepted is told before what was not.
        accepted = [(part, end) for part, end in zip(parts, ends, strict=True) if not isinstance(end, BaseException)]
        if output is None:
            for _, batch in accepted:
                typer.echo(batch["id"])
        failed = 0 if output is None else await _show(client, accepted, output)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
    if failed:
        raise BrokerError(f"{failed} of {len(pictures)} records failed")


def _split(pictures: Sequence[Picture], most: int) -> list[list[Picture]]:
    """Parts of one POST each: at most ten records, and `most` bytes unless a single picture is larger."""
    parts: list[list[Picture]] = []
    room = 0
    for picture in pictures:
        if not parts or len(parts[-1]) == MAX_RECORDS or picture.bytes_in_body > room:
            parts.append([])
            room = most
        parts[-1].append(picture)
        room -= picture.bytes_in_body
    return parts


async def _show(client: Client, done: Sequence[tuple[Sequence[Picture], dict[str, Any]]], output: Path) -> int:
    """Save the output pictures and print a table of the records; returns how many failed."""
    table = new_table("picture", "status", "result")
    failed = 0
    rows = [pair for part, batch in done for pair in zip(part, batch["response"]["records"], strict=True)]
    for place, (picture, record) in enumerate(rows):
        status = record["_status"]
        failed += status["code"] >= 400
        saved = [await _save(client, url, output, f"{place + 1:04}-{picture.stem}") for url in outputs_of(record)]
        table.add_row(picture.source, f"{status['code']} {status['text']}", "\n".join(map(str, saved)))
    console().print(table)
    return failed


def outputs_of(value: Any) -> Iterator[str]:
    """The links to output pictures in a record's result, wherever they stand; its own source is none."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name != "_url":
                yield from outputs_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from outputs_of(item)
    elif isinstance(value, str) and "/media/out/" in value:
        yield value


async def _save(client: Client, url: str, folder: Path, stem: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{Path(urlsplit(url).path).name}"
    path.write_bytes(await client.download(url))
    return path


def _expand(source: str) -> Iterator[Picture]:
    if source.startswith(("http://", "https://")):
        yield Picture(source, None)
        return
    path = Path(source)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES and file.is_file())
        yield from (Picture(str(file), file) for file in found)
    elif path.is_file():
        yield Picture(source, path)
    else:
        raise Invalid(f"{source} is neither a file, a folder nor an http(s) URL")


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Invalid(f"--param {text}: NAME=VALUE is needed")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name:
        raise Invalid(f"--header {text}: NAME:VALUE is needed")
    return name, value.strip()
