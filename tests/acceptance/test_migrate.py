"""`broker migrate` where the database is not there, or not yet."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import make_url

from tests.acceptance.fleet import KEY
from tests.acceptance.processes import Commands, Done, until


def on_database(commands: Commands, url: str) -> Commands:
    return commands.with_environment(BROKER_DATABASE_URL=url, BROKER_SECRET_KEY=KEY)


def test_a_database_that_cannot_be_reached_is_looked_for_and_then_told_as_a_worker_tells_it(commands: Commands) -> None:
    nowhere = on_database(commands, "postgresql://nobody@127.0.0.1:1/none")
    migrated, worked = nowhere.run("migrate"), nowhere.run("worker")
    looks, told = said(migrated)
    assert told == said(worked)[1] == ["broker: the database cannot be reached; see BROKER_DATABASE_URL"]
    assert (migrated.code, worked.code) == (1, 1)
    assert looks[-1] - looks[0] >= timedelta(seconds=5)


def said(done: Done) -> tuple[list[datetime], list[str]]:
    """When the log tells of a look for the database in vain, and what else a person reads."""
    lines = done.err.splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    looks = [datetime.fromisoformat(line["timestamp"]) for line in logged if line["event"] == "store.unavailable"]
    return looks, [line for line in lines if not line.startswith("{")]


def test_a_database_that_is_just_starting_is_waited_for(commands: Commands, empty_postgresql_url: str) -> None:
    """The server's folder is a link that comes late: the path of a socket must be short."""
    folder = str(make_url(empty_postgresql_url).query["host"])
    later = Path(commands.environment["TMPDIR"]) / "server"
    migrating = on_database(commands, empty_postgresql_url.replace(folder, str(later))).start("migrate")
    until(lambda: migrating.says("store.unavailable"), "a try has failed")
    later.symlink_to(folder)
    assert migrating.wait() == 0
    assert migrating.says("The database has this version's schema.")
