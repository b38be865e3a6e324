"""`broker demo`: real photographs through a real broker, from an empty folder to a verified webhook."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from broker.cli.client import Client, is_ready
from broker.cli.data_folder import DEFAULT_WORKSPACE, TOKEN_FILE, URL_FILE
from broker.cli.processes import run
from broker.cli.receiver import Received, Receiver
from broker.cli.submit import outputs_of
from broker.cli.tables import console, new_table
from broker.errors import BrokerError
from broker.foundation import open_foundation
from broker.provision import Provision
from broker.settings import load
from broker.tether import tethered
from broker.webhooks.signing import verify

PHOTOGRAPHS = Path(__file__).with_name("photographs")
BY_URL = ("coffee.jpg",)
BY_BASE64 = ("chelsea.jpg", "chelsea-face.webp")
HEADERS = {"X-Demo": "my own header"}
START_SECONDS, STOP_SECONDS, WEBHOOK_SECONDS = 60.0, 120.0, 60.0


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the pictures before and after.")] = Path("demo-output"),
) -> None:
    """Start everything in a temporary folder, send photographs through it, receive and verify the webhook."""
    for name in [name for name in os.environ if name.startswith("BROKER_")]:
        del os.environ[name]  # it is the same for everyone, whatever is set for another broker
    run(_demo(output, console()))


async def _demo(output: Path, screen: Console) -> None:
    with tempfile.TemporaryDirectory(prefix="broker-demo-") as folder:
        screen.print("Starting database, Valkey, API and worker …")
        async with _broker(Path(folder)) as client, Receiver(_served()) as receiver:
            screen.print(f"Ready: {client.url}")
            batches = await _submit(client, receiver, screen)
            events = [await receiver.next(WEBHOOK_SECONDS) for _ in batches]
            _check(events, await _secrets(Path(folder)), batches)
            screen.print(
                f"{len(events)} webhooks received, one a batch; "
                "signatures (Standard Webhooks) and the custom header are right."
            )
            rows = await _save(client, [json.loads(event.body) for event in events], batches, output)
    table = new_table("photograph", "sent by", "before", "after", "saved as")
    for row in rows:
        table.add_row(*row)
    screen.print(table)
    screen.print(
        "Next:\n"
        "  .venv/bin/broker up                          start it for yourself\n"
        "  .venv/bin/broker submit --wait PICTURE …     send pictures of your own through it\n"
        "  .venv/bin/broker --help                      see what else there is"
    )


@asynccontextmanager
async def _broker(folder: Path) -> AsyncIterator[Client]:
    """A `broker up` of its own, as a user would start it, stopped at the end, and killed where this process is."""
    command = [sys.executable, "-m", "broker", "up", "--data-dir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            tethered(*command, "--allow-network", "127.0.0.0/8"),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = await _until_ready(process, folder, log)
        async with Client(url, (folder / TOKEN_FILE).read_text().strip()) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


async def _until_ready(process: subprocess.Popen[bytes], folder: Path, log: Path) -> str:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if (folder / URL_FILE).exists() and (url := (folder / URL_FILE).read_text().strip()) and await is_ready(url):
            return url
        await asyncio.sleep(0.05)
    raise BrokerError(f"the broker did not start; it said:\n{log.read_text(errors='replace')[-2000:]}")


def _served() -> dict[str, Path]:
    return {f"/{name}": PHOTOGRAPHS / name for name in BY_URL}


async def _submit(client: Client, receiver: Receiver, screen: Console) -> dict[str, tuple[Sequence[str], str]]:
    """Submit one batch by URL and one by base64 and follow both; id -> (photographs, how they were sent)."""
    webhook = {"endpoint": f"{receiver.url}/webhook", "headers": HEADERS}
    common = {"type": "upscaler", "endpoint": "upscale_2x", "webhook": webhook}
    parts: list[tuple[Sequence[str], str, list[dict[str, str]]]] = [
        (BY_URL, "_url", [{"_url": f"{receiver.url}/{name}"} for name in BY_URL]),
        (BY_BASE64, "_base64", [{"_base64": _base64(PHOTOGRAPHS / name)} for name in BY_BASE64]),
    ]
    batches: dict[str, tuple[Sequence[str], str]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=screen) as progress:
        bar = progress.add_task("photographs done", total=sum(len(names) for names, _, _ in parts))
        for names, way, records in parts:
            accepted = await client.submit({**common, "records": records})
            batches[accepted["id"]] = (names, way)
        for id, (names, _) in batches.items():
            while (await client.details(id, wait=5))["status"] != "DONE":
                pass
            progress.advance(bar, len(names))
    return batches


def _check(events: Sequence[Received], secrets: Sequence[str], batches: Mapping[str, Any]) -> None:
    """Raises BrokerError unless every event is signed, carries our header, and is about one batch each."""
    for event in events:
        if not verify(secrets, event.headers, event.body, time.time()):
            raise BrokerError("a webhook's signature is wrong")
        if any(event.headers.get(name.lower()) != value for name, value in HEADERS.items()):
            raise BrokerError("a webhook came without the custom header")
    if sorted(json.loads(event.body)["id"] for event in events) != sorted(batches):
        raise BrokerError("the webhooks are not about the batches that were submitted")


async def _secrets(folder: Path) -> Sequence[str]:
    async with open_foundation(load(data_dir=folder, database_url="", redis_url="")) as opened:
        return await Provision(opened.database, opened.vault).webhook_secrets(DEFAULT_WORKSPACE)


async def _save(
    client: Client, events: Sequence[dict[str, Any]], batches: Mapping[str, tuple[Sequence[str], str]], output: Path
) -> list[tuple[str, str, str, str, str]]:
    """Before and after of every photograph into `output`; rows of the closing table."""
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for event in events:
        names, way = batches[event["id"]]
        for name, record in zip(names, event["response"]["records"], strict=True):
            if record["_status"]["code"] != 200:
                raise BrokerError(f"{name}: {record['_status']['text']}")
            before, after = output / name, output / f"{Path(name).stem}-2x{Path(name).suffix}"
            before.write_bytes((PHOTOGRAPHS / name).read_bytes())
            after.write_bytes(await client.download(next(outputs_of(record))))
            sizes = (
                f"{record['_width']}x{record['_height']}",
                f"{record['_upscaled_width']}x{record['_upscaled_height']}",
            )
            rows.append((name, way, *sizes, str(after)))
    return rows


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
