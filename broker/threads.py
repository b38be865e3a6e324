"""Threads for the broker's own work that blocks: those of `asyncio.to_thread` are for handlers, which may fill them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = ThreadPoolExecutor(thread_name_prefix="broker")


def in_thread(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> asyncio.Future[T]:
    """What `work` returns or raises, run on such a thread. Needs a running event loop."""
    return asyncio.get_running_loop().run_in_executor(_THREADS, partial(work, *args, **options))
