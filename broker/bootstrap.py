"""Settings -> running parts. The only place that wires, and nothing happens on import."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from broker.accept import Accept
from broker.admission import Admission
from broker.batches import new_id
from broker.cancel import Cancel
from broker.complete import Complete
from broker.delete import Delete
from broker.errors import Misconfigured
from broker.foundation import open_foundation
from broker.media.blobs import Blobs, open_blobs
from broker.media.fetch import Fetcher
from broker.media.links import Links
from broker.net.addresses import Policy
from broker.net.guard import guarded_client
from broker.net.urls import check_url
from broker.pause import Pause
from broker.query import Query
from broker.queue.bell import DoneBell
from broker.queue.nudge import Nudger
from broker.retry import Retry
from broker.secrets import Vault
from broker.settings import Settings
from broker.store.database import Database, open_session
from broker.wait import Wait
from broker.webhooks.send import Sender
from broker.work.beat import Heartbeat
from broker.work.claims import Claims
from broker.work.crew import Crew
from broker.work.orphans import Orphans
from broker.work.record import RecordRun
from broker.work.retention import Retention
from broker.work.run import Run
from broker.work.scratch import scratch_folder
from broker.work.sweep import Sweep
from broker.work.unserved import Unserved
from handlers.contract import Config
from handlers.registry import Registry

HOUR_MS = 3_600_000
DRAIN_SECONDS = 5.0
"""What webhooks under way get when a worker stops, so that grace and drain fit the 30 s that platforms give."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Core:
    """What every process has."""

    settings: Settings
    registry: Registry
    database: Database
    vault: Vault
    blobs: Blobs
    links: Links
    nudger: Nudger
    bell: DoneBell
    policy: Policy

    def check_url(self, url: str) -> None:
        """Raises Invalid, with a text for the customer, for a URL that the broker would never use."""
        check_url(url, self.policy)


@dataclass(frozen=True, slots=True)
class Web:
    """What a web process has besides."""

    core: Core
    accept: Accept
    query: Query
    wait: Wait
    cancel: Cancel
    retry: Retry
    pause: Pause
    delete: Delete


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker process has besides."""

    core: Core
    types: tuple[str, ...]
    owner: str
    crew: Crew
    claim: Claims
    run: Run
    heartbeat: Heartbeat
    sender: Sender
    sweep: Sweep


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Open what every process needs; closed in reverse order. Raises Misconfigured."""
    async with AsyncExitStack() as stack:
        foundation = await stack.enter_async_context(open_foundation(settings))
        nudger = Nudger(settings.redis_url or None)
        stack.push_async_callback(nudger.aclose)
        await nudger.start()
        bell = DoneBell(settings.redis_url or None)
        stack.push_async_callback(bell.aclose)
        await bell.start()
        yield Core(
            settings=settings,
            registry=Registry.installed(),
            database=foundation.database,
            vault=foundation.vault,
            blobs=open_blobs(settings.blobs_url, settings.data_dir),
            links=Links(foundation.vault, settings.public_url, settings.output_hours),
            nudger=nudger,
            bell=bell,
            policy=Policy(settings.networks, settings.ports),
        )


@asynccontextmanager
async def open_web(settings: Settings) -> AsyncIterator[Web]:
    """Open a web process's parts."""
    async with open_core(settings) as core:
        folders = (settings.data_dir,) if settings.embedded_database else ()
        if core.blobs.folder is not None:
            folders = (*folders, core.blobs.folder)
        admission = Admission(core.database, settings.max_queued, settings.min_free_bytes, folders)
        accept = Accept(core.database, core.blobs, core.vault, core.registry, core.nudger, admission)
        query = Query(core.database, core.links)
        complete = Complete(core.database, core.vault, core.links, core.bell)
        web = Web(
            core=core,
            accept=accept,
            query=query,
            wait=Wait(core.bell),
            cancel=Cancel(query, complete),
            retry=Retry(query, core.database, core.nudger),
            pause=Pause(query, core.database, core.nudger),
            delete=Delete(query, core.database, core.blobs),
        )
        # The sweep here too: who runs no batches outlives those that end workers.
        async with _running(_sweep(core, complete).run), _running(Unserved(core.database).run):
            yield web


@asynccontextmanager
async def open_work(settings: Settings, types: Sequence[str] = ()) -> AsyncIterator[Work]:
    """Open a worker process's parts for `types` (none = all installed), with its background tasks running."""
    async with open_core(settings) as core, AsyncExitStack() as stack:
        chosen = _choose(core.registry, types)
        scratch = stack.enter_context(scratch_folder(Path(tempfile.gettempdir())))
        crew = await asyncio.to_thread(_crew, core.registry, chosen, settings, scratch)
        stack.callback(crew.close)
        fetcher = Fetcher(
            core.policy,
            max_bytes=settings.max_image_bytes,
            timeout=settings.fetch_timeout,
            pause=settings.fetch_pause,
        )
        stack.push_async_callback(fetcher.aclose)
        client = guarded_client(core.policy)
        stack.push_async_callback(client.aclose)
        sender = Sender(core.database, core.vault, client, settings.webhook_pauses, settings.webhook_timeout)
        owner = f"{socket.gethostname()}:{os.getpid()}:{new_id()}"
        session = partial(open_session, settings.database_url, settings.data_dir)
        heartbeat = Heartbeat(session, owner, settings.lease_seconds)
        await heartbeat.start()
        stack.push_async_callback(heartbeat.aclose)
        complete = Complete(core.database, core.vault, core.links, core.bell, sender.wake)
        work = Work(
            core=core,
            types=chosen,
            owner=owner,
            crew=crew,
            claim=Claims(core.database, heartbeat, owner, settings.lease_seconds),
            run=Run(
                database=core.database,
                blobs=core.blobs,
                fetcher=fetcher,
                heartbeat=heartbeat,
                run_record=RecordRun(core.blobs, crew, settings.max_tries),
                complete=complete,
                max_crashes=settings.max_crashes,
            ),
            heartbeat=heartbeat,
            sender=sender,
            sweep=_sweep(core, complete),
        )
        stack.push_async_callback(sender.drain, min(settings.webhook_timeout, DRAIN_SECONDS))
        for part in (sender.run, work.sweep.run, _retention(core).run, Orphans(core.database, core.blobs).run):
            await stack.enter_async_context(_running(part))
        yield work


def _choose(registry: Registry, types: Sequence[str]) -> tuple[str, ...]:
    unknown = sorted(set(types) - set(registry))
    if unknown:
        raise Misconfigured(f"unknown type {', '.join(unknown)}; installed: {', '.join(registry)}")
    return tuple(types) or tuple(registry)


def _crew(registry: Registry, types: tuple[str, ...], settings: Settings, scratch: Path) -> Crew:
    config = Config(
        models_dir=settings.models_dir,
        threads=1,
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_output_pixels=settings.max_output_pixels,
    )
    return Crew(registry, types, config, settings.threads, scratch)


def _sweep(core: Core, complete: Complete) -> Sweep:
    return Sweep(core.database, core.nudger, complete, core.settings.lease_seconds, core.settings.max_crashes)


def _retention(core: Core) -> Retention:
    settings = core.settings
    return Retention(
        core.database,
        core.blobs,
        input_ms=int(settings.input_hours * HOUR_MS),
        output_ms=int(settings.output_hours * HOUR_MS),
        batch_ms=int(settings.retention_days * 24 * HOUR_MS),
    )


@asynccontextmanager
async def _running(part: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """A caretaker that runs in the background meanwhile."""
    task = asyncio.create_task(_keep_running(part), name=part.__qualname__)
    try:
        yield
    finally:
        await _end(task)


async def _keep_running(part: Callable[[], Awaitable[None]]) -> None:
    """A caretaker that fails begins anew: nobody else does its work in this process."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("task.crashed", task=part.__qualname__)
            await asyncio.sleep(1)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
