"""What a web process has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker.accept import Accept
from broker.admission import Admission
from broker.bootstrap.caretakers import new_sweep, running
from broker.bootstrap.core import Core, open_core
from broker.cancel import Cancel
from broker.complete import Complete
from broker.delete import Delete
from broker.delivery_query import DeliveryQuery
from broker.enable import Enable
from broker.endpoint_query import EndpointQuery
from broker.net.client import post_client
from broker.pause import Pause
from broker.ping import AT_ONCE, Ping
from broker.query import Query
from broker.replay import Replay
from broker.retry import Retry
from broker.rotate import Rotate
from broker.settings import Settings
from broker.wait import Wait
from broker.webhooks.answers import Answers
from broker.webhooks.keys import SigningSecrets
from broker.webhooks.post import Poster
from broker.webhooks.send import lease_ms
from broker.work.unserved import Unserved


@dataclass(frozen=True, slots=True)
class Web:
    """What a web process has besides the core."""

    core: Core
    accept: Accept
    query: Query
    wait: Wait
    cancel: Cancel
    retry: Retry
    pause: Pause
    delete: Delete
    rotate: Rotate
    endpoints: EndpointQuery
    enable: Enable
    ping: Ping
    deliveries: DeliveryQuery
    replay: Replay


@asynccontextmanager
async def open_web(settings: Settings) -> AsyncIterator[Web]:
    """Open a web process's parts."""
    answers = Answers()
    async with open_core(settings) as core, _open_ping(core, answers) as ping:
        folders = (settings.data_dir,) if settings.embedded_database else ()
        if core.blobs.folder is not None:
            folders = (*folders, core.blobs.folder)
        admission = Admission(core.database, settings.max_queued, settings.min_free_bytes, folders)
        accept = Accept(core.database, core.blobs, core.vault, core.registry, core.nudger, admission)
        query = Query(core.database, core.links)
        deliveries = DeliveryQuery(core.database, core.vault, answers)
        complete = Complete(core.database, core.vault, core.links, core.bell)
        endpoints = EndpointQuery(core.database, core.vault)
        web = Web(
            core=core,
            accept=accept,
            query=query,
            wait=Wait(core.bell),
            cancel=Cancel(query, complete),
            retry=Retry(query, core.database, core.nudger),
            pause=Pause(query, core.database, core.nudger),
            delete=Delete(query, core.database, core.blobs),
            rotate=Rotate(core.database, core.vault),
            endpoints=endpoints,
            enable=Enable(endpoints, core.database),
            ping=ping,
            deliveries=deliveries,
            replay=Replay(deliveries, core.database, lease_ms(settings.webhook_timeout)),
        )
        # The sweep here too: who runs no batches outlives those that end workers.
        async with running(new_sweep(core, complete).run), running(Unserved(core.database).run):
            yield web


@asynccontextmanager
async def _open_ping(core: Core, answers: Answers) -> AsyncIterator[Ping]:
    async with post_client(core.policy, connections=AT_ONCE) as client:
        keys = SigningSecrets(core.database, core.vault)
        poster = Poster(core.vault, keys, client, core.settings.webhook_timeout)
        yield Ping(poster, answers, core.check_url)
