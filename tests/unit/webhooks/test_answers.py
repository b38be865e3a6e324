"""What is shown of a receiver's answer, and how many may wait for it."""

from __future__ import annotations

import asyncio

from broker.webhooks.answers import Answers, without_secrets
from broker.webhooks.post import RESPONSE_BYTES

URL = "https://hooks.example.com/?key=a-secret-key"
COSTLY = b"%252541" * 2857
HEADERS = {f"X-{number}": f"{number}-of-eleven" * 300 for number in range(4)}


def test_an_answer_is_shown_in_no_more_characters_than_bytes_are_kept() -> None:
    """A mask may be longer than what it hides."""
    for kept in (b"." * (RESPONSE_BYTES - 7) + b"x      ", b"\xff" * RESPONSE_BYTES):
        assert len(without_secrets(kept, URL, {})) <= RESPONSE_BYTES


async def test_nobody_waits_behind_all_answers_of_another_workspace() -> None:
    answers = Answers()
    ended: list[str] = []

    async def show(workspace: str) -> None:
        await answers.shown(workspace, COSTLY, URL, HEADERS)
        ended.append(workspace)

    busy = [asyncio.create_task(show("busy")) for _ in range(10)]
    await asyncio.sleep(0)
    await show("other")
    assert ended.count("busy") <= 2
    await asyncio.gather(*busy)
