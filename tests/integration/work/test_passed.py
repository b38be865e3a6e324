"""What waits and may not be claimed costs a worker's looks no more than a part of its time, and is not forgotten."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from broker.store.claims import PassedOver
from broker.store.database import Database, open_session
from broker.work.beat import Heartbeat
from broker.work.claims import Claims
from broker.work.passed import Passed
from tests.integration.store.rows import TYPE, accept, execute

LEASE = 30.0


async def test_a_worker_passes_over_what_could_not_be_claimed_for_a_while_and_then_looks_at_all(
    database: Database, database_url: str, workspace_id: str, tmp_path: Path
) -> None:
    heartbeat = Heartbeat(partial(open_session, database_url, tmp_path), "worker", LEASE)
    await heartbeat.start()
    below, fresh = await accept(database, workspace_id, 2)
    await execute(database, "UPDATE batches SET rank = 7 WHERE id = :id", id=below)
    for ago, found in ((0.0, fresh), (3600.0, below)):
        passed = Passed(long_seconds=0)
        passed.note((TYPE,), PassedOver(rank=8, seconds=60), time.monotonic() - ago)
        take = Claims(database, heartbeat, "worker", LEASE, passed=passed)
        assert [claim.id for claim in await take((TYPE,), 8)] == [found]
        assert passed.rank((TYPE,), 0.0) == 7 if found == below else passed.rank((TYPE,), 0.0) > 8
    await heartbeat.aclose()
