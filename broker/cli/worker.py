"""`broker worker`: a process that runs batches and sends webhooks."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import structlog
import typer

from broker.bootstrap.work import open_work
from broker.cli.processes import RECYCLED, begin, freeze, run
from broker.cli.signals import on_stop
from broker.queue.worker import BatchWorker
from broker.settings import Settings
from broker.store.claims import Claim

log = structlog.get_logger()


def worker(
    types: Annotated[str, typer.Option(help="Comma-separated types to work on; default: all installed.")] = "",
) -> None:
    """Run batches and send webhooks."""
    settings = begin()
    recycling = run(_work(settings, [type.strip() for type in types.split(",") if type.strip()]))
    _end(RECYCLED if recycling else 0)


def _end(status: int) -> None:
    """End now that all is closed: a handler's thread that does not heed its end must not keep us."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def _work(settings: Settings, types: list[str]) -> bool:
    """Work until a signal, or until this process is worn out. True for the second: it shall be started anew."""
    async with open_work(settings, types) as work:
        worker = BatchWorker[Claim](
            settings.redis_url or None,
            types=work.types,
            slots=settings.worker_batches,
            claim=work.claim,
            more=lambda: work.claim.more,
            run=work.run,
            grace_seconds=settings.grace_seconds,
        )
        on_stop(worker.stop, worker.stop_now)
        work.crew.on_recycle(worker.stop)
        freeze()
        log.info("worker.started", types=work.types, owner=work.owner)
        await worker.async_run()
    log.info("worker.stopped")
    return work.crew.recycling
