"""Sending from the background."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.queue.connection import Health, backoff
from broker.queue.flusher import AT_ONCE, CROWD, CROWD_PAUSE, Flusher

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Wire:
    """What was sent, one list a send; blocks while its gate is closed, fails while it is cut."""

    def __init__(self) -> None:
        self.sends: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.cut = False
        self.tries = 0

    async def send(self, items: Sequence[int]) -> None:
        self.tries += 1
        await self.gate.wait()
        if self.cut:
            raise ConnectionError("cut")
        self.sends.append(list(items))


async def test_what_is_put_at_light_load_is_sent_on_the_next_turns() -> None:
    wire, flusher = _started()
    flusher.put([1])
    for _ in range(3):
        await asyncio.sleep(0)
    assert wire.sends == [[1]]
    await flusher.aclose()


async def test_what_is_put_while_a_send_is_under_way_goes_together() -> None:
    wire, flusher = _started()
    wire.gate.clear()
    for item in range(10):
        flusher.put([item])
        await asyncio.sleep(0)
    wire.gate.set()
    await flusher.aclose()
    assert wire.sends == [[0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]


async def test_equal_items_that_wait_are_sent_once_but_again_when_put_during_their_send() -> None:
    wire, flusher = _started()
    wire.gate.clear()
    flusher.put([1, 1, 1])
    while wire.tries == 0:
        await asyncio.sleep(0)
    flusher.put([1])
    wire.gate.set()
    await flusher.aclose()
    assert wire.sends == [[1], [1]]


async def test_what_comes_behind_a_crowd_gathers_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)  # however slow the machine is
    wire, flusher = _started()
    flusher.put(range(CROWD))
    await _turns()
    assert len(wire.sends) == 1
    flusher.put([CROWD])
    await _turns()
    flusher.put([CROWD + 1])
    await _turns()
    assert len(wire.sends) == 1
    now += 2 * CROWD_PAUSE
    await _turns()
    assert wire.sends[1:] == [[CROWD, CROWD + 1]]
    flusher.put([CROWD + 2])
    await _turns()
    assert wire.sends[2:] == [[CROWD + 2]]
    monkeypatch.undo()  # or closing would wait for ever for what does not end
    await flusher.aclose()


async def test_a_long_backlog_goes_in_bounded_sends() -> None:
    wire, flusher = _started(bound=10 * AT_ONCE)
    flusher.put(range(3 * AT_ONCE + 1))
    await flusher.aclose()
    assert [len(send) for send in wire.sends] == [AT_ONCE, AT_ONCE, AT_ONCE, 1]


async def test_what_failed_is_sent_again_first_and_the_excess_is_dropped() -> None:
    wire, flusher = _started(bound=5)
    wire.cut = True
    flusher.put(range(3))
    while wire.tries == 0:
        await asyncio.sleep(0)
    flusher.put(range(3, 9))
    assert len(flusher) == 5
    wire.cut = False
    while not wire.sends:
        await asyncio.sleep(0.01)
    assert wire.sends == [[0, 1, 2, 3, 4]]
    flusher.put([9])
    await flusher.aclose()
    assert wire.sends[1:] == [[9]]


async def test_closing_sends_what_waits() -> None:
    wire, flusher = _started()
    flusher.put([1, 2])
    await flusher.aclose()
    assert wire.sends == [[1, 2]]


async def test_closing_gives_up_on_a_send_that_hangs() -> None:
    wire, flusher = _started()
    wire.gate.clear()
    flusher.put([1])
    await flusher.aclose()
    assert wire.sends == []


def test_pauses_grow_to_their_cap() -> None:
    pauses = [round(backoff(failures, 2.0), 1) for failures in (1, 2, 3, 4, 5, 6, 10_000)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


async def _turns() -> None:
    """Of the event loop, more than a send takes."""
    for _ in range(10):
        await asyncio.sleep(0)


def _started(bound: int = 100) -> tuple[_Wire, Flusher[int]]:
    wire = _Wire()
    flusher = Flusher(wire.send, Health("test"), bound=bound)
    flusher.start()
    return wire, flusher
