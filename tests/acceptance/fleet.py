"""The processes of a fleet, as the Procfile starts them: `broker migrate`, `web`, `worker`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from broker.bootstrap import open_core
from broker.provision import Provision
from broker.settings import load
from tests.acceptance.broker import Api
from tests.acceptance.processes import Commands, Done, Running, is_ready, until
from tests.databases import run_aside

KEY = "the key of this test which is long enough"


@dataclass
class Fleet:
    """Processes that share a database and a key. `web` is the newest one."""

    commands: Commands
    database_url: str
    redis_url: str = ""
    _web: Running | None = None
    _token: str = ""

    def __post_init__(self) -> None:
        self.commands = self.commands.with_environment(
            BROKER_DATABASE_URL=self.database_url,
            BROKER_REDIS_URL=self.redis_url,
            BROKER_SECRET_KEY=KEY,
            BROKER_DATA_DIR=str(self.commands.folder / "data"),
        )

    @property
    def web(self) -> Running:
        assert self._web is not None
        return self._web

    @property
    def token(self) -> str:
        """The token that `provision` made."""
        return self._token

    def say(self, *arguments: str) -> Done:
        """Run an operator's command that must work."""
        done = self.commands.run(*arguments)
        assert done.code == 0, done.err
        return done

    def provision(self) -> None:
        """Make the workspace `default` and a token, once."""
        self._token = self._token or run_aside(_token(self.database_url, self.commands.folder / "data"))

    def start_web(self, before: tuple[str, ...] = (), **environment: str) -> Api:
        """Start a web process on a free port; returns once it is ready."""
        self.provision()
        web = self.commands.with_environment(**environment).start("web", "--port", "0", before=before)
        self._web = web
        until(lambda: _still_running(web) and url_of(web), "web has started")
        url = url_of(web)
        until(lambda: is_ready(url), "web is ready")
        return Api(url, self._token)

    def start_worker(self, *options: str, **environment: str) -> Running:
        """Start a worker process; returns once it looks for work."""
        worker = self.commands.with_environment(**environment).start("worker", *options)
        until(lambda: _ended(worker) or worker.says("worker.started"), "worker has started")
        assert worker.process.poll() is None, worker.err.read_text()
        return worker


async def _token(database_url: str, data_dir: Path) -> str:
    """A token of a new workspace `default`; what the operator's commands do, without starting them."""
    settings = load(database_url=database_url, data_dir=data_dir, secret_key=KEY)
    async with open_core(settings) as core:
        provision = Provision(core.database, core.vault)
        await provision.workspace("default")
        return await provision.token("default", "test", ("submit", "read"))


def url_of(web: Running) -> str:
    """The URL that a web process says it serves; empty until it does."""
    found = re.search(r'^\{.*"event": "web.started".*\}$', web.err.read_text(), re.MULTILINE)
    return str(json.loads(found.group())["url"]) if found else ""


def _still_running(running: Running) -> bool:
    assert not _ended(running), running.err.read_text()
    return True


def _ended(running: Running) -> bool:
    return running.process.poll() is not None
