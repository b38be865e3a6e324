"""`broker worker`: a process that runs batches and sends webhooks."""

from __future__ import annotations

from threading import Event
from typing import Annotated

import structlog
import typer

from broker.bootstrap.work import open_work
from broker.cli.processes import RECYCLED, begin, freeze, run_to_its_end
from broker.cli.signals import on_stop
from broker.cli.watchdog import Watchdog
from broker.queue.worker import BatchWorker
from broker.settings import Settings
from broker.store.claims import Claim
from broker.work.crew import GRACE

log = structlog.get_logger()


def worker(
    types: Annotated[str, typer.Option(help="Comma-separated types to work on; default: all installed.")] = "",
) -> None:
    """Run batches and send webhooks."""
    settings = begin()
    run_to_its_end(_work(settings, [type.strip() for type in types.split(",") if type.strip()]))


async def _work(settings: Settings, types: list[str]) -> int:
    """Work until a signal, or until this process is worn out and shall be started anew. Returns the exit status.

    Who was told to stop has stopped in good order, worn out or not.
    """
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
        watchdog = Watchdog(work.crew.patience)
        watchdog.start()
        asked = Event()

        def hear() -> None:
            asked.set()
            watchdog.shorten(settings.grace_seconds + GRACE)

        on_stop(worker.stop, worker.stop_now, at_once=hear)
        work.crew.on_recycle(worker.stop)
        freeze()
        log.info("worker.started", types=work.types, owner=work.owner)
        await worker.async_run()
    log.info("worker.stopped")
    return RECYCLED if work.crew.recycling and not asked.is_set() else 0
