"""`/healthz` and `/readyz`: the parts that a web process stands on, each named."""

from __future__ import annotations

import socket
from pathlib import Path

from broker.queue.embedded import EmbeddedValkey
from tests.integration.running import ROOT, Broker, StartBroker

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
        assert answer.json()["checks"]["database"].startswith("does not answer (")
        assert (await broker.http.get(ROOT)).status_code == 200
    assert (await broker.http.get("/readyz")).status_code == 200


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
