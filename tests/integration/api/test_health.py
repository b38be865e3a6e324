"""`/healthz` and `/readyz`: the parts that a web process stands on, each named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from broker.queue.embedded import EmbeddedValkey
from tests.integration.running import ROOT, Broker, StartBroker, until

BODY = {"type": "upscaler", "records": [{"_url": "https://images.example.com/a.jpg"}]}
NO_REDIS = "not configured; workers look into SQL once a second"


async def test_process_that_lives_says_so(broker: Broker) -> None:
    answer = await broker.http.get("/healthz", headers={"Authorization": ""})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_all_parts_there_is_ready(start_broker: StartBroker, valkey_url: str) -> None:
    broker = await start_broker(redis_url=valkey_url)
    answer = await broker.http.get("/readyz", headers={"Authorization": ""})
    checks = {"database": "ok", "blobs": "ok", "disk": "ok", "redis": "ok"}
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "checks": checks})


async def test_no_redis_wanted_is_ready(broker: Broker) -> None:
    answer = await broker.http.get("/readyz")
    checks = {"database": "ok", "blobs": "ok", "disk": "ok", "redis": NO_REDIS}
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "checks": checks})


async def test_redis_that_is_down_is_degraded_and_batches_are_accepted(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    server = EmbeddedValkey(tmp_path / "redis")
    broker = await start_broker(redis_url=server.start())
    server.stop()
    answer = await broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["database"] == answer.json()["checks"]["blobs"] == "ok"
    assert answer.json()["checks"]["redis"].startswith("does not answer (")
    assert str(tmp_path) not in answer.text
    assert (await broker.http.post(ROOT, json=BODY)).status_code == 201


async def test_redis_that_hangs_is_degraded(start_broker: StartBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = await start_broker(redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}")
        answer = await broker.http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert (await broker.http.post(ROOT, json=BODY)).status_code == 201


async def test_full_disk_is_degraded_and_everything_but_a_post_is_served(start_broker: StartBroker) -> None:
    broker = await start_broker(min_free_bytes=2**60)
    answer = await broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "BROKER_MIN_FREE_BYTES" in answer.json()["checks"]["disk"]
    refused = await broker.http.post(ROOT, json=BODY)
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
    assert (await broker.http.get(ROOT)).status_code == 200


async def test_blob_store_that_is_away_is_unready(broker: Broker) -> None:
    folder = broker.core.blobs.folder
    assert folder is not None
    folder.rmdir()
    answer = await broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert answer.json()["checks"]["blobs"].startswith("does not answer (")
    assert answer.json()["checks"]["disk"] == "does not answer (FileNotFoundError)"
    assert answer.json()["checks"]["database"] == "ok"
    assert str(folder) not in answer.text
    assert (await broker.http.get("/healthz")).status_code == 200


async def test_database_that_takes_no_writes_is_unready(broker: Broker) -> None:
    async with broker.store.locked():
        answer = await broker.http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "unready")
        assert answer.json()["checks"]["database"] == "no answer within 3 s"
        assert (await broker.http.get(ROOT)).status_code == 200
    assert (await broker.http.get("/readyz")).status_code == 200


@contextmanager
def readiness_writes() -> Iterator[list[str]]:
    """Every statement about the turn that a look at the database takes, also of the writers' own connections."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if "readiness" in str(parameters):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_many_probes_cost_one_write_a_second(broker: Broker) -> None:
    clock = asyncio.get_running_loop().time
    with readiness_writes() as writes:
        began = clock()
        answers = await asyncio.gather(*[broker.http.get("/readyz") for _ in range(20)])
        answers += [await broker.http.get("/readyz") for _ in range(40)]
        seconds = clock() - began
    assert {answer.status_code for answer in answers} == {200}
    assert 1 <= len(writes) <= 1 + seconds


async def test_probes_behind_a_lock_wait_for_one_write(broker: Broker) -> None:
    with readiness_writes() as writes:
        async with broker.store.locked():
            answers = await asyncio.gather(*[broker.http.get("/readyz") for _ in range(20)])
        assert {answer.status_code for answer in answers} == {503}
        await until(lambda: ready(broker))  # what waited for the lock has had its turn
    assert 1 <= len(writes) < 10


async def test_answer_is_not_remembered_for_ever(broker: Broker) -> None:
    folder = broker.core.blobs.folder
    assert folder is not None
    assert await ready(broker)
    folder.rmdir()
    await until(lambda: unready(broker))
    folder.mkdir()
    await until(lambda: ready(broker))


async def ready(broker: Broker) -> bool:
    return (await broker.http.get("/readyz")).status_code == 200


async def unready(broker: Broker) -> bool:
    return (await broker.http.get("/readyz")).status_code == 503


async def test_database_that_is_gone_is_unready_and_everything_else_says_503(broker: Broker) -> None:
    await broker.store.destroy()
    answer = await broker.http.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unready")
    assert answer.json()["checks"]["database"].startswith("does not answer (")
    assert answer.json()["checks"]["blobs"] == "ok"
    assert broker.core.settings.database_url not in answer.text
    assert (await broker.http.get("/healthz")).status_code == 200
    id = "01890a5d-ac96-774b-bcce-b302099a8057"
    for method, path in (("POST", ROOT), ("GET", ROOT), ("GET", f"{ROOT}/{id}"), ("GET", f"{ROOT}/{id}/status")):
        refused = await broker.http.request(method, path, json=BODY)
        assert refused.status_code == 503, (method, path)
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json() == {"detail": "The service cannot take the request now. Try again shortly."}
