"""A handler's time passes while it works, and at no other time."""

from __future__ import annotations

import asyncio

from broker.work.clock import Clock

SHORT = 0.05
MUCH_LONGER = 0.2
PATIENCE = 20.0


async def is_over(clock: Clock) -> bool:
    """Whether the time is up within a long while; for what must come."""
    async with asyncio.timeout(PATIENCE):
        await clock.over
    return True


async def test_time_begins_with_work() -> None:
    clock = Clock(SHORT)
    await asyncio.sleep(MUCH_LONGER)
    assert (clock.over.done(), clock.left) == (False, SHORT)
    clock.work()
    assert await is_over(clock)
    assert clock.left == 0


async def test_nothing_rings_once_nobody_waits() -> None:
    clock = Clock(SHORT)
    clock.work()
    clock.leave()
    left = clock.left
    clock.work()
    await asyncio.sleep(MUCH_LONGER)
    assert not clock.over.done()
    assert clock.left == left


async def test_outer_time_rests_while_the_inner_handlers_wait() -> None:
    outer = Clock(SHORT)
    outer.work()
    inner = Clock(PATIENCE, outer=outer)
    await asyncio.sleep(MUCH_LONGER)
    assert not outer.over.done()
    inner.leave()
    assert await is_over(outer)


async def test_outer_time_passes_while_one_inner_handler_works_and_another_waits() -> None:
    outer = Clock(SHORT)
    outer.work()
    working, _waiting = Clock(PATIENCE, outer=outer), Clock(PATIENCE, outer=outer)
    working.work()
    assert await is_over(outer)
    assert working.left == 0


async def test_outermost_time_rests_while_the_innermost_handler_waits() -> None:
    outermost = Clock(SHORT)
    outermost.work()
    middle = Clock(PATIENCE, outer=outermost)
    middle.work()
    innermost = Clock(PATIENCE, outer=middle)
    await asyncio.sleep(MUCH_LONGER)
    assert not outermost.over.done()
    innermost.work()
    assert await is_over(outermost)


async def test_inner_handler_may_take_no_longer_than_its_own_limit() -> None:
    outer = Clock(PATIENCE)
    outer.work()
    inner = Clock(SHORT, outer=outer)
    inner.work()
    assert await is_over(inner)
    assert not outer.over.done()


async def test_moves_after_the_end_do_not_ring_again() -> None:
    outer = Clock(SHORT)
    outer.work()
    assert await is_over(outer)
    inner = Clock(SHORT, outer=outer)
    inner.work()
    inner.leave()
    outer.leave()
    assert outer.left == 0
