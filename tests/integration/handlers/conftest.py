"""Fresh Python processes in which other packages are installed beside ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def python() -> Python:
    """`python(code, *folders)`: run code in a new process, with the folders on its PYTHONPATH."""

    def python(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
        command = [sys.executable, "-W", "error", "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return python


@pytest.fixture
def installed_package(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """`installed_package(name, code, entry_point)`: a folder with a package of one module, as pip leaves it."""

    def install(name: str, code: str, entry_point: str) -> Path:
        folder = tmp_path / name
        metadata = folder / f"{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[broker.handlers]\n{entry_point}\n")
        (folder / f"{name}.py").write_text(code)
        return folder

    return install
