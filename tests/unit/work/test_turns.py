"""CPU turns are given in order, and none is lost or made up."""

from __future__ import annotations

import asyncio

from broker.work.turns import Turns


async def waiting(turns: Turns, order: list[str], name: str) -> None:
    turn = await turns.take()
    order.append(name)
    await asyncio.sleep(0)
    turn.end()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_turns_come_in_the_order_of_asking() -> None:
    turns, order = Turns(1), list[str]()
    held = await turns.take()
    tasks = [asyncio.create_task(waiting(turns, order, name)) for name in "abc"]
    await settle()
    assert order == []
    held.end()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]


async def test_turn_that_ends_twice_frees_one() -> None:
    turns, order = Turns(1), list[str]()
    first = await turns.take()
    first.end()
    second = await turns.take()
    first.end()
    task = asyncio.create_task(waiting(turns, order, "late"))
    await settle()
    assert order == []
    second.end()
    await task


async def test_who_is_cancelled_while_waiting_frees_nothing() -> None:
    turns, order = Turns(1), list[str]()
    held = await turns.take()
    given_up, patient = (asyncio.create_task(waiting(turns, order, name)) for name in ("given up", "patient"))
    await settle()
    given_up.cancel()
    await settle()
    assert order == []
    held.end()
    await patient
    assert order == ["patient"]
    assert given_up.cancelled()
