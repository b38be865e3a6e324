"""What every test stands on: a clean environment, no skips, both databases alike, no sockets in unit tests."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_socket

from broker.batches import new_id
from broker.store.database import SQLITE_FILE, Database, open_database
from broker.store.workspaces import NewWorkspace, insert_workspaces
from tests.databases import KINDS, PostgresServer, migrate_fresh, remove_postgres, temporary_postgres_folder

UNIT = Path(__file__).with_name("unit")
EXAMPLE = Path(__file__).with_name("plugin_example")
POSTGRES_FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """One PostgreSQL for the whole run: its folder is made here, in the controller; the first test starts it."""
    given = getattr(config, "workerinput", {}).get("postgres_folder")
    config.stash[POSTGRES_FOLDER] = Path(given) if given else temporary_postgres_folder()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: no collection of garbage looks at it, now or while tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgres_folder"] = str(node.config.stash[POSTGRES_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        remove_postgres(config.stash[POSTGRES_FOLDER])


class OneDatabaseOnly(pytest.Item):
    """Fails in the name of tests whose ids on SQLite and on PostgreSQL differ; an item, so that workers report it."""

    ids: tuple[str, ...] = ()

    def runtest(self) -> None:
        pytest.fail(f"these run on one database only: {', '.join(self.ids)}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that runs on one of the databases runs on the other; checked unless single parameters are asked for."""
    if any("[" in argument for argument in config.args):
        return
    sqlite, postgresql = ({_without_kind(item, kind) for item in items} - {None} for kind in KINDS)
    if unequal := sqlite ^ postgresql:
        failure = OneDatabaseOnly.from_parent(session, name="one_database_only")
        failure.ids = tuple(sorted(map(str, unequal)))
        items.append(failure)


def _without_kind(item: pytest.Item, kind: str) -> str | None:
    """The id of a test that runs on `kind`, with a neutral word for it; None for every other test."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if kind not in parameters.values():
        return None
    path, _, chosen = item.nodeid.partition("[")
    return f"{path}[{chosen.replace(kind, 'database')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"a skip counts as a failure: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        report.outcome, report.longrepr = "failed", f"a skip counts as a failure: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("BROKER_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.path.is_relative_to(UNIT):
        yield
        return
    # An event loop wakes itself up over a pair of Unix sockets.
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    migrate_fresh("", folder)
    return folder / SQLITE_FILE


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> PostgresServer:
    """The server that all tests of this run share. Never stop it: make one of your own for that."""
    server = PostgresServer(pytestconfig.stash[POSTGRES_FOLDER])
    server.start()
    return server


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    folder = temporary_postgres_folder()
    server = PostgresServer(folder)
    server.start()
    yield server
    remove_postgres(folder)


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite file in `tmp_path`."""
    shutil.copy(_sqlite_template, tmp_path / SQLITE_FILE)
    return f"sqlite:///{tmp_path / SQLITE_FILE}"


@pytest.fixture
def postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a migrated database of the shared server, without rows."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.give_back(name)


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database, on SQLite and on PostgreSQL; other processes can use it too."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / SQLITE_FILE}"


@pytest.fixture
def empty_postgresql_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables."""
    name = postgres_server.create_empty()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=KINDS)
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database that is not migrated yet."""
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A fresh, migrated database, opened; closed after the test."""
    database = open_database(database_url, tmp_path)
    yield database
    await database.aclose()


@pytest.fixture
async def workspace_id(database: Database) -> str:
    """The id of a workspace in `database`."""
    workspace = NewWorkspace(id=new_id(), name="default", secrets=b"box")
    assert await database.writer.write(insert_workspaces, workspace)
    return workspace.id


@pytest.fixture(scope="session")
def plugin_path(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with `tests/plugin_example` installed from its wheel. On PYTHONPATH it adds the type `thumbnailer`.

    Built once a test run: the workers of pytest-xdist share the folder above their own.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    installed = shared / "plugin"
    with (shared / "plugin.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists():
            _build_and_install(shared / "plugin-wheel", shared / "plugin-partial")
            (shared / "plugin-partial").rename(installed)
    return installed


def _build_and_install(wheels: Path, target: Path) -> None:
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(EXAMPLE))
    (wheel,) = wheels.glob("*.whl")
    _pip("install", "--no-deps", "--target", str(target), str(wheel))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments, "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
