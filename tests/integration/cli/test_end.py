"""A process that serves or works ends when its main coroutine has, whatever that leaves behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys, threading
from broker import logs
from broker.cli.processes import run_to_its_end

async def deaf():
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    asyncio.create_task(deaf())
    await asyncio.sleep(0)
    print("closed")
    return 1 // 0 if sys.argv[1] == "error" else 75

logs.configure("json", "info")
run_to_its_end(main())
"""


@pytest.mark.parametrize(("how", "status"), [("returns", 75), ("error", 1)])
def test_a_coroutine_and_a_thread_that_do_not_end_do_not_keep_the_process(how: str, status: int) -> None:
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (status, "closed\n")
    assert ("ZeroDivisionError" in done.stderr) == (how == "error")
