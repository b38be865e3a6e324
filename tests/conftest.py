"""What tests of every kind share: the example plugin, built and installed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "plugin_example"


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
