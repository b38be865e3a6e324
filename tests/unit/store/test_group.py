"""A write is begun or withdrawn, never both, whoever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection, create_engine

from broker.store.group import Operation, Write, apply, withdraw

ROUNDS, EACH = 200, 20


def connection() -> Connection:
    return create_engine("sqlite://").connect()


def write_of(operation: Operation[int, object], item: int, since: float) -> Write:
    return Write(operation, item, 1, asyncio.get_running_loop().create_future(), since)


async def test_of_a_group_only_what_waited_too_long_is_withdrawn_and_the_others_keep_their_places() -> None:
    def double(_connection: Connection, items: Sequence[int]) -> list[int]:
        return [2 * item for item in items]

    group = [write_of(double, item, since=item) for item in range(6)]
    late = withdraw(group, limit=2)
    assert [write.item for write in late] == [0, 1, 2]
    with connection() as open:
        assert apply(group, open) == [None, None, None, 6, 8, 10]
    assert withdraw(group, limit=99) == []


async def test_what_was_rolled_back_may_be_withdrawn_from_its_next_turn() -> None:
    def nothing(_connection: Connection, items: Sequence[int]) -> list[None]:
        return [None] * len(items)

    write = write_of(nothing, 1, since=0)
    with connection() as open:
        apply([write], open)
    write.wait_anew(since=10)
    assert withdraw([write], limit=9) == []
    assert withdraw([write], limit=10) == [write]


async def test_a_thread_that_begins_and_a_loop_that_withdraws_never_both_get_the_same_write() -> None:
    applied: list[int] = []

    def note(_connection: Connection, items: Sequence[int]) -> list[None]:
        applied.extend(items)
        return [None] * len(items)

    group = [write_of(note, item, since=item) for item in range(ROUNDS * EACH)]
    with connection() as open, ThreadPoolExecutor(1) as session:
        withdrawn: list[int] = []
        for start in range(0, len(group), EACH):
            some = group[start : start + EACH]
            applying = session.submit(apply, some, open)
            withdrawn += [write.item for item in some for write in withdraw([item], limit=item.since)]
            applying.result()
    assert sorted(applied + withdrawn) == list(range(ROUNDS * EACH))
