"""The processes that a bench has started, and the most memory that one had, which only Linux tells."""

from __future__ import annotations

from pathlib import Path

import psutil


def started(word: str) -> psutil.Process:
    """The one child of this process that has this word in its command, e.g. `worker` of `broker worker`."""
    (found,) = [process for process in psutil.Process().children() if word in process.cmdline()]
    return found


def memory(process: psutil.Process) -> int:
    """Bytes that it has in memory now."""
    return int(process.memory_info().rss)


def peak(process: psutil.Process) -> int:
    """The most bytes that it had in memory since `forget_peak`."""
    status = _folder(process) / "status"
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak(process: psutil.Process) -> None:
    (_folder(process) / "clear_refs").write_text("5")


def cpu_seconds(process: psutil.Process) -> float:
    """Of all its threads, in user and in system mode."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _folder(process: psutil.Process) -> Path:
    return Path("/proc") / str(process.pid)
