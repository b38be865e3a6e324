"""What a worker process has."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from broker.batches import new_id
from broker.bootstrap.caretakers import new_sweep, running
from broker.bootstrap.core import Core, open_core
from broker.bootstrap.operator import open_notices
from broker.complete import Complete
from broker.deliveries import drain_seconds
from broker.errors import Misconfigured
from broker.media.fetch import Fetcher
from broker.net.client import post_client
from broker.settings import Settings
from broker.store.database import open_session
from broker.webhooks.lanes import SLOTS
from broker.webhooks.send import Sender
from broker.work.beat import Heartbeat
from broker.work.claims import Claims
from broker.work.crew import Crew, Lend
from broker.work.orphans import Orphans
from broker.work.record import RecordRun
from broker.work.retention import Retention
from broker.work.run import Run
from broker.work.scratch import scratch_folder
from broker.work.snapshots import Snapshots
from broker.work.sweep import Sweep
from broker.work.threads import HandlerThreads
from handlers.contract import Config, SetupError
from handlers.registry import Registry

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker process has besides the core."""

    core: Core
    types: tuple[str, ...]
    owner: str
    crew: Crew
    claim: Claims
    run: Run
    heartbeat: Heartbeat
    sender: Sender
    sweep: Sweep
    retention: Retention
    orphans: Orphans


@asynccontextmanager
async def open_work(settings: Settings, types: Sequence[str] = ()) -> AsyncIterator[Work]:
    """Open a worker process's parts for `types` (none = all installed), with its background tasks running."""
    async with open_core(settings) as core, AsyncExitStack() as stack:
        chosen = _choose(core.registry, types)
        scratch = stack.enter_context(scratch_folder(Path(tempfile.gettempdir())))
        snapshots = Snapshots(core.database, scratch)
        crew = await asyncio.to_thread(_crew, core.registry, chosen, settings, scratch, snapshots.of)
        stack.callback(crew.close)
        late = partial(crew.recycle, reason="a thread that a handler began goes on")
        asyncio.get_running_loop().set_default_executor(HandlerThreads(crew.patience, late))
        fetcher = Fetcher(
            core.policy,
            max_bytes=settings.max_image_bytes,
            timeout=settings.fetch_timeout,
            pause=settings.fetch_pause,
        )
        stack.push_async_callback(fetcher.aclose)
        client = await stack.enter_async_context(post_client(core.policy, connections=SLOTS))
        sender = Sender(
            core.database,
            core.vault,
            client,
            settings.webhook_pauses,
            settings.webhook_timeout,
            await open_notices(core),
        )
        owner = f"{socket.gethostname()}:{os.getpid()}:{new_id()}"
        session = partial(open_session, settings.database_url, settings.data_dir)
        heartbeat = Heartbeat(session, owner, settings.lease_seconds)
        await heartbeat.start()
        stack.push_async_callback(heartbeat.aclose)
        complete = Complete(core.database, core.vault, core.links, core.bell, sender)
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
                snapshots=snapshots,
                run_record=RecordRun(core.blobs, crew, settings.max_tries),
                complete=complete,
                max_crashes=settings.max_crashes,
            ),
            heartbeat=heartbeat,
            sender=sender,
            retention=_retention(core),
            orphans=Orphans(core.database, core.blobs),
            sweep=new_sweep(core, complete),
        )
        stack.push_async_callback(sender.drain, drain_seconds(settings.webhook_timeout))
        for part in (sender.run, work.sweep.run, work.retention.run, work.orphans.run):
            await stack.enter_async_context(running(part))
        yield work


def _choose(registry: Registry, types: Sequence[str]) -> tuple[str, ...]:
    unknown = sorted(set(types) - set(registry))
    if unknown:
        raise Misconfigured(f"unknown type {', '.join(unknown)}; installed: {', '.join(registry)}")
    return tuple(types) or tuple(registry)


def _crew(registry: Registry, types: tuple[str, ...], settings: Settings, scratch: Path, lend: Lend) -> Crew:
    config = Config(
        models_dir=settings.models_dir,
        threads=1,
        max_image_bytes=settings.max_image_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_output_pixels=settings.max_output_pixels,
    )
    try:
        return Crew(registry, types, config, threads=settings.threads, scratch=scratch, lend=lend)
    except SetupError as error:
        raise Misconfigured(str(error)) from error


def _retention(core: Core) -> Retention:
    settings = core.settings
    return Retention(
        core.database,
        core.blobs,
        input_ms=int(settings.input_hours * HOUR_MS),
        output_ms=int(settings.output_hours * HOUR_MS),
        batch_ms=int(settings.retention_days * 24 * HOUR_MS),
    )
