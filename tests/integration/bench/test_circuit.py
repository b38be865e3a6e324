"""The circuit that posts batches and receives webhooks tells its whole course."""

from __future__ import annotations

import array
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

import pytest

from bench import servers
from bench.circuit import NUMBER, Course, Plan, go
from bench.end_to_end import BODY as HOOKED

POSTS = 2000
BODY = f'{{"type": "upscaler", "records": [{{"_url": "https://example.com/{NUMBER}.jpg"}}]}}'
FULL = 64 * 1024
"""Bytes that a pipe holds, of the 280,000 that such a course has."""


def test_a_course_comes_whole_where_a_signal_cuts_a_write_that_nothing_buffers(tmp_path: Path) -> None:
    """As with PYTHONUNBUFFERED in most images of containers, and whatever stops a process for a moment."""
    with servers.broker(tmp_path / "data", "") as (port, token):
        plan = Plan(port, "/account/v2/request", token, BODY, 0.5, per_second=2 * POSTS)
        command = [sys.executable, "-u", "-m", "bench.circuit"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(asdict(plan)).encode())
            process.stdin.close()
            wait_until_full(process.stdout)
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            process.send_signal(signal.SIGCONT)
            course = Course(**json.loads(process.stdout.read()))
    assert sorted(course.numbers.values()) == list(range(POSTS))


def wait_until_full(pipe: IO[bytes]) -> None:
    waiting, end = array.array("i", [0]), time.monotonic() + 30
    while waiting[0] < FULL:
        assert time.monotonic() < end
        time.sleep(0.05)
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)


def test_webhooks_that_are_signed_with_another_secret_do_not_count(tmp_path: Path) -> None:
    with servers.do_it_yourself(tmp_path / "diy") as diy:
        plan = Plan(diy.port, "/batches", diy.token, HOOKED, 0.5, per_second=20, secret=diy.secret)
        assert go(plan).verified == 1
        with pytest.raises(RuntimeError, match="with a wrong one: 1"):
            go(replace(plan, secret="whsec_AAAA"))
