"""Whether the webhooks that come to a bench are signed: a look at each, and the whole of Standard Webhooks for some."""

from __future__ import annotations

import re
from dataclasses import dataclass

from standardwebhooks import Webhook, WebhookVerificationError

EVERY = 100
"""Of so many one is verified, the first: it takes longer than all else that a receiver does."""
_SIGNED = re.compile(rb"\r\nwebhook-signature: *v1,", re.IGNORECASE)


@dataclass(eq=False)
class Signatures:
    """unsigned: webhooks without the header. verified, wrong: of those that were looked at closely."""

    secret: str
    signed: int = 0
    unsigned: int = 0
    verified: int = 0
    wrong: int = 0

    def look(self, message: bytes) -> None:
        """A whole HTTP request."""
        head = message.index(b"\r\n\r\n")
        if not _SIGNED.search(message, 0, head):
            self.unsigned += 1
            return
        if self.signed % EVERY == 0:
            self._verify(message[:head], message[head + 4 :])
        self.signed += 1

    def _verify(self, head: bytes, body: bytes) -> None:
        lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
        try:
            Webhook(self.secret).verify(body, {name.lower(): value.strip() for name, _, value in lines})
        except WebhookVerificationError:
            self.wrong += 1
        else:
            self.verified += 1
