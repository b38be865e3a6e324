"""What may be shown of receivers' answers, which are kept as they came: found out on a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from broker.webhooks.masking import masked
from broker.webhooks.post import RESPONSE_BYTES

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")
"""One for all: masking takes tens of milliseconds for the answers of some, and the loop and the others go on."""


async def shown_answer(answer: bytes, url: str, headers: Mapping[str, str]) -> str:
    """What may be shown of an answer's first bytes to a webhook with these headers for this URL."""
    if not answer:
        return ""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, _without_secrets, answer, url, headers)


def _without_secrets(answer: bytes, url: str, headers: Mapping[str, str]) -> str:
    text = answer.decode("utf-8", "replace").replace("\0", "")
    return masked(text, url, headers, cut=len(answer) == RESPONSE_BYTES)[:RESPONSE_BYTES]
