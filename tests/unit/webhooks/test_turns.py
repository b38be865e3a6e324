"""Turns at endpoints: never more than a lane is wide, in order, and none is lost by who gives up."""

from __future__ import annotations

import asyncio

import pytest

from broker.webhooks.turns import Turns


async def soon(*tasks: asyncio.Task[None]) -> list[bool]:
    """Which of them have had their turn, once all has moved that can."""
    for _ in range(5):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


def waiting(all_of: Turns, count: int, endpoint: str = "a") -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(all_of.take(endpoint)) for _ in range(count)]


async def test_no_more_have_their_turn_than_the_lane_is_wide_and_each_end_calls_the_next() -> None:
    all_of = Turns(lambda endpoint: 2)
    tasks = waiting(all_of, 4)
    others = waiting(all_of, 1, "b")
    assert await soon(*tasks, *others) == [True, True, False, False, True]
    all_of.give_back("a")
    assert await soon(*tasks) == [True, True, True, False]
    for _ in range(3):
        all_of.give_back("a")
    assert await soon(*tasks) == [True] * 4


async def test_a_lane_that_grew_calls_as_many_as_it_takes_now() -> None:
    wide = {"a": 1}
    all_of = Turns(lambda endpoint: wide[endpoint])
    tasks = waiting(all_of, 4)
    await soon()
    wide["a"] = 3
    all_of.give_back("a")
    assert await soon(*tasks) == [True] * 4


async def test_who_gives_up_takes_no_turn_with_it() -> None:
    all_of = Turns(lambda endpoint: 1)
    first, second, third = waiting(all_of, 3)
    await soon()
    second.cancel()
    await soon()
    all_of.give_back("a")
    assert await soon(third) == [True]
    (fourth,) = waiting(all_of, 1)
    await soon()
    all_of.give_back("a")
    fourth.cancel()
    await asyncio.wait([fourth])
    (fifth,) = waiting(all_of, 1)
    assert await soon(first, fifth) == [True, True]


async def test_a_turn_that_does_not_come_in_time_is_waited_for_no_longer() -> None:
    all_of = Turns(lambda endpoint: 1, seconds=0.01)
    await all_of.take("a")
    with pytest.raises(TimeoutError):
        await all_of.take("a")


async def test_who_is_sent_away_has_no_turn_and_takes_none() -> None:
    all_of = Turns(lambda endpoint: 1)
    _, second, third = waiting(all_of, 3)
    (other,) = waiting(all_of, 2, "b")[1:]
    await soon()
    all_of.send_away("a")
    assert await soon(second, third, other) == [True, True, False]
    assert [type(one.exception()) for one in (second, third)] == [TimeoutError] * 2
    (fourth,) = waiting(all_of, 1)
    assert await soon(fourth) == [False]
    all_of.give_back("a")
    assert await soon(fourth) == [True]
    other.cancel()
