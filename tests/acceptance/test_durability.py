"""Accepted means on disk: seen in the system calls of `broker web`, between reading a POST and answering it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.store.database import SQLITE_FILE
from tests.acceptance.broker import PHOTOGRAPHS, ROOT, Api, as_base64
from tests.acceptance.fleet import Fleet
from tests.acceptance.processes import Commands

TRACER = Path(__file__).with_name("tracer.py")
CONNECTIONS, EACH = 32, 6


@dataclass(frozen=True)
class Sync:
    """A flush of a file: the lines of the trace where it began and ended."""

    file: str
    began: int
    ended: int


@dataclass(frozen=True)
class Answer:
    """A 201: the lines of the trace where its POST had been read and where it began to leave."""

    read: int
    left: int

    def waited_for(self, sync: Sync) -> bool:
        return self.read < sync.began and sync.ended < self.left


@dataclass(frozen=True)
class Trace:
    """What `broker web` did."""

    lines: list[dict[str, Any]]

    @property
    def answers(self) -> list[Answer]:
        read: dict[int, int] = {}
        answers = []
        for place, line in enumerate(self.lines):
            if line["when"] == "end" and line["head"].startswith(f"POST {ROOT}"):
                read[line["fd"]] = place
            if line["when"] == "begin" and line["head"].startswith("HTTP/1.1 201"):
                answers.append(Answer(read.pop(line["fd"]), place))
        return answers

    @property
    def syncs(self) -> list[Sync]:
        began: dict[tuple[str, int], int] = {}
        syncs = []
        for place, line in enumerate(self.lines):
            if "sync" in line["call"]:
                key = (line["file"], line["fd"])
                if line["when"] == "begin":
                    began[key] = place
                else:
                    syncs.append(Sync(line["file"], began.pop(key), place))
        return syncs

    @property
    def commits(self) -> list[Sync]:
        return [sync for sync in self.syncs if sync.file.endswith("-wal")]


class Traced:
    """A `broker web` on SQLite that is watched while it serves."""

    def __init__(self, fleet: Fleet) -> None:
        self._out = fleet.commands.folder / "trace"
        self.api = fleet.start_web(before=(sys.executable, str(TRACER), str(self._out)))
        self._fleet = fleet
        self.blobs = fleet.commands.folder / "data" / "blobs"

    def trace(self) -> Trace:
        """Stop it and read what it did."""
        assert self._fleet.web.stop() == 0
        return Trace([json.loads(line) for line in self._out.read_text().splitlines()])


@pytest.fixture
def traced(commands: Commands, sqlite_url: str) -> Iterator[Traced]:
    yield Traced(Fleet(commands, sqlite_url))


async def post_at_once(api: Api) -> None:
    """CONNECTIONS clients, each with a connection of its own, post EACH batches one after the other."""

    async def one() -> None:
        headers = {"Authorization": f"Token {api.token}"}
        async with httpx.AsyncClient(headers=headers, timeout=90, trust_env=False, verify=False) as client:
            for _ in range(EACH):
                body = {"type": "upscaler", "records": [{"_url": "https://example.com/photo.jpg"}]}
                assert (await client.post(api.url + ROOT, json=body)).status_code == 201

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(one())


def test_at_load_1_the_commit_is_flushed_between_each_post_and_its_answer(traced: Traced) -> None:
    for _ in range(10):
        traced.api.submit([{"_url": "https://example.com/photo.jpg"}])
    trace = traced.trace()
    assert len(trace.answers) == 10
    for answer in trace.answers:
        assert any(answer.waited_for(commit) for commit in trace.commits)


async def test_at_load_32_answers_share_flushes_and_none_leaves_before_its_own(traced: Traced) -> None:
    await post_at_once(traced.api)
    trace = traced.trace()
    answers = trace.answers
    assert len(answers) == CONNECTIONS * EACH
    for answer in answers:
        assert any(answer.waited_for(commit) for commit in trace.commits)
    meanwhile = [sync for sync in trace.syncs if answers[0].read < sync.began < answers[-1].left]
    assert len(meanwhile) < len(answers) * 3 / 4


def test_a_large_picture_that_was_sent_along_is_flushed_before_the_commit(traced: Traced) -> None:
    """Its bytes, then every folder from its own up to the store's, and only then the row."""
    traced.api.submit([{"_base64": as_base64(PHOTOGRAPHS / "coffee.jpg")}])
    trace = traced.trace()
    (answer,) = trace.answers
    flushed = [Path(sync.file) for sync in trace.syncs if answer.waited_for(sync)]
    places = [place for place, path in enumerate(flushed) if path.name.endswith("-wal")]
    (picture,) = [path for path in traced.blobs.rglob("*") if path.is_file()]
    under = [folder for folder in picture.parents if folder.is_relative_to(traced.blobs)]
    written, *folders = flushed[: places[0]]
    assert (written.parent, written.exists()) == (picture.parent, False)  # the temporary name
    assert folders == under


def test_a_small_picture_that_was_sent_along_is_flushed_with_its_row(traced: Traced) -> None:
    traced.api.submit([{"_base64": as_base64()}])
    trace = traced.trace()
    (answer,) = trace.answers
    flushed = {Path(sync.file).name for sync in trace.syncs if answer.waited_for(sync)}
    assert flushed == {f"{SQLITE_FILE}-wal"}
    assert [path for path in traced.blobs.rglob("*") if path.is_file()] == []
