"""What may be shown of receivers' answers, which are kept as they came. A thread of its own finds it out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from broker.webhooks.masking import masked
from broker.webhooks.post import RESPONSE_BYTES

_THREAD = ThreadPoolExecutor(1, thread_name_prefix="answers")


@dataclass(slots=True)
class Answers:
    """One a web process. Masking takes tens of milliseconds for the answers of some, which the event loop goes on in.

    Of each workspace one answer waits for the thread at a time, so that nobody waits behind all of another's.
    """

    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def shown(self, workspace: str, answer: bytes, url: str, headers: Mapping[str, str]) -> str:
        """The text of an answer to a webhook with these headers for this URL, without the secrets in these."""
        if not answer:
            return ""
        turn = self._turns.setdefault(workspace, asyncio.Lock())
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(_THREAD, without_secrets, answer, url, headers)


def without_secrets(answer: bytes, url: str, headers: Mapping[str, str]) -> str:
    """An answer as `masked` shows it, in no more characters than bytes are kept."""
    text = answer.decode("utf-8", "replace").replace("\0", "")
    return masked(text, url, headers, cut=len(answer) == RESPONSE_BYTES)[:RESPONSE_BYTES]
