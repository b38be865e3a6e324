"""What the processes say: one JSON object a line, events with stable names, no secrets."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, text

from broker.store.database import open_database
from tests.acceptance.broker import as_base64, start_up
from tests.acceptance.fleet import Fleet
from tests.acceptance.processes import Commands, until
from tests.acceptance.receiver import Receiver
from tests.databases import run_aside

LEVELS = {"debug", "info", "warning", "error", "critical"}


def parsed(said: str) -> list[dict[str, Any]]:
    """The lines as objects. Fails where one is none or lacks what every line has."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    for line in lines:
        assert line["level"] in LEVELS, line
        assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+", line["event"]), line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"]), line
    return lines


def test_every_line_is_a_named_event_and_no_secret_is_in_one(commands: Commands, receiver: Receiver) -> None:
    up = start_up(commands.with_environment(BROKER_LOG_LEVEL="debug"), "--allow-network", "127.0.0.0/8")
    receiver.statuses.append(410)
    records = [{"_base64": as_base64()}, {"_url": f"{receiver.url}/gone.jpg?key=hush-url", "note": "hush-note"}]
    webhook = {"endpoint": f"{receiver.url}/hook?key=hush-hook", "headers": {"X-Key": "hush-header"}}
    id = up.api.submit(records, webhook=webhook)
    answers = up.api.done(id)
    assert [record["_status"]["code"] for record in answers] == [200, 404]
    link = answers[0]["_upscaled_image_url"]
    event = receiver.next()
    up.api.post(type="nonsense", records=records)
    with socket.create_connection((urlsplit(up.url).hostname, urlsplit(up.url).port)) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 400")
    until(lambda: up.running.says("delivery.attempted"), "the try is told of")
    worker = up.running.child("worker")
    assert worker is not None
    worker.kill()
    until(lambda: up.running.says("up.restarting"), "the worker is started again")
    assert up.running.stop() == 0

    said = up.running.err.read_text()
    lines = parsed(said)
    events = {line["event"] for line in lines}
    assert {
        "web.started",
        "worker.started",
        "record.failed",
        "delivery.attempted",
        "up.restarting",
        "web.stopped",
    } <= events
    about = [line for line in lines if line["event"] in ("record.failed", "delivery.attempted")]
    assert {line["batch"] for line in about} == {id}
    shown = {line["event"]: line for line in about}
    assert shown["record.failed"]["code"] == 404
    assert shown["delivery.attempted"]["status_code"] == 410

    secrets = [up.token, (up.folder / "secret_key").read_text().strip(), event.headers["webhook-signature"]]
    secrets += ["hush-url", "hush-note", "hush-hook", "hush-header", urlsplit(link).query]
    assert all(len(secret) > 5 for secret in secrets)
    assert [secret for secret in secrets if secret in said + up.running.out.read_text()] == []


def hide_records(connection: Connection, given: Sequence[None]) -> list[None]:
    connection.execute(text("ALTER TABLE batches RENAME COLUMN records TO elsewhere"))
    return list(given)


def test_a_failing_statement_is_logged_without_what_customers_sent(commands: Commands, database_url: str) -> None:
    fleet = Fleet(commands, database_url)
    api = fleet.start_web()

    async def break_it() -> None:
        database = open_database(database_url, commands.folder)
        await database.writer.write(hide_records, None)
        await database.aclose()

    run_aside(break_it())
    answer = api.post(type="upscaler", records=[{"_url": "https://example.com/a.jpg?key=hush-url"}])
    assert answer.status_code == 500
    assert fleet.web.stop() == 0
    said = fleet.web.err.read_text()
    assert "http.crashed" in {line["event"] for line in parsed(said)}
    assert "INSERT INTO batches" in said
    assert "hush-url" not in said
