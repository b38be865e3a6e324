"""Leases in a worker's hands: until when they are its own, whose runs end with them, and whose end decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.batches import Batch, Status
from broker.store.claims import Claim
from broker.store.leases import Lease
from broker.work.held import Held

UNTIL = 100.0


def claimed(id: str, *, careful: bool = False) -> Claim:
    batch = Batch(
        id=id,
        workspace="w",
        dialect="ximilar",
        type="upscaler",
        endpoint="upscale_2x",
        params={},
        records=(),
        extra="{}",
        base_url="https://broker.example",
        status=Status.PROCESSING,
        outcome=None,
        run=1,
        lease_seq=1,
        created=0,
        modified=0,
    )
    return Claim(batch, (), careful)


ONE, OTHER = claimed("one"), claimed("other")
OLDER = Lease(ONE.id, 0)


@pytest.fixture
def held() -> Held:
    held = Held()
    held.add([ONE, OTHER], UNTIL)
    return held


class Runs:
    """Tasks that run held batches until something ends them, as soon as they began."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, lease: Lease) -> asyncio.Task[None]:
        began = asyncio.Event()
        task = asyncio.create_task(self._run(lease, began))
        self.tasks.append(task)
        await began.wait()
        return task

    async def _run(self, lease: Lease, began: asyncio.Event) -> None:
        assert self._held.begin(lease)
        began.set()
        await asyncio.Event().wait()


@pytest.fixture
async def runs(held: Held) -> AsyncIterator[Runs]:
    runs = Runs(held)
    yield runs
    for task in runs.tasks:
        task.cancel()
    await asyncio.wait(runs.tasks)


def test_leases_are_in_doubt_from_their_end_on(held: Held) -> None:
    held.extend({OTHER.lease}, UNTIL + 1)
    assert held.doubtful(UNTIL - 0.001) == []
    assert held.doubtful(UNTIL) == [ONE.lease]
    assert held.doubtful(UNTIL + 1) == [ONE.lease, OTHER.lease]


def test_lease_that_is_known_to_be_lost_is_in_doubt_no_more(held: Held) -> None:
    assert held.lose(ONE.lease)
    assert held.doubtful(UNTIL) == [OTHER.lease]
    assert not held.lose(ONE.lease)


def test_extending_what_was_dropped_meanwhile_brings_it_back_to_nobody(held: Held) -> None:
    held.drop(ONE.lease)
    held.extend({ONE.lease}, UNTIL + 1)
    assert held.leases == (OTHER.lease,)


def test_batch_claimed_anew_has_nothing_of_its_older_lease(held: Held) -> None:
    held.extend({OLDER}, UNTIL + 1)
    held.drop(OLDER)
    assert not held.lose(OLDER)
    assert held.doubtful(UNTIL) == [ONE.lease, OTHER.lease]


async def test_run_whose_lease_is_lost_already_does_not_begin(held: Held) -> None:
    held.lose(ONE.lease)
    held.drop(OTHER.lease)
    assert not held.begin(ONE.lease)
    assert not held.begin(OTHER.lease)
    assert not held.begin(OLDER)


async def test_cancel_ends_the_run_of_that_lease_alone(held: Held, runs: Runs) -> None:
    one, other = await runs.start(ONE.lease), await runs.start(OTHER.lease)
    held.cancel(ONE.lease)
    await asyncio.wait({one})
    assert (one.cancelled(), other.cancelling()) == (True, 0)


async def test_cancel_of_a_lease_that_nobody_runs_does_nothing(held: Held, runs: Runs) -> None:
    task = await runs.start(OTHER.lease)
    for lease in (ONE.lease, OLDER, Lease(OTHER.id, 2)):
        held.cancel(lease)
    assert task.cancelling() == 0


async def test_cancel_does_not_break_into_a_run_that_is_being_cancelled(held: Held, runs: Runs) -> None:
    """It is giving its batch back; a second cancellation would end that."""
    task = await runs.start(ONE.lease)
    task.cancel()
    held.cancel(ONE.lease)
    assert task.cancelling() == 1


async def test_run_whose_end_is_being_written_is_told_by_the_answer_alone(held: Held, runs: Runs) -> None:
    task = await runs.start(ONE.lease)
    held.end(ONE.lease)
    assert not held.lose(ONE.lease)
    held.cancel(ONE.lease)
    assert task.cancelling() == 0


async def test_run_that_reached_its_end_before_its_loss_was_carried_out_goes_on(held: Held, runs: Runs) -> None:
    task = await runs.start(ONE.lease)
    assert held.lose(ONE.lease)
    held.end(ONE.lease)
    held.cancel(ONE.lease)
    assert task.cancelling() == 0


def test_careful_batch_is_alone_as_long_as_it_is_held() -> None:
    held = Held()
    careful = claimed("careful", careful=True)
    assert (held.idle, held.alone) == (True, False)
    held.add([careful], UNTIL)
    assert (held.idle, held.alone) == (False, True)
    held.lose(careful.lease)
    assert held.alone
    held.drop(careful.lease)
    assert (held.idle, held.alone) == (True, False)
    held.add([ONE], UNTIL)
    assert (held.idle, held.alone) == (False, False)
