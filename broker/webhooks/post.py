"""One try at a webhook: open the target, sign, POST within the deadline, keep the beginning of the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpcore
import structlog
from msgspec import Struct

from broker.deliveries import DueDelivery, Verdict, open_target, verdict
from broker.errors import AddressRefused, Unavailable
from broker.net.client import PostClient
from broker.net.failures import CONNECTION_LOST, why_not_connected
from broker.secrets import Vault
from broker.webhooks.keys import SigningSecrets
from broker.webhooks.signing import signed_headers

RESPONSE_BYTES = 20_000
REFUSED = "address not allowed"
TIMED_OUT = "timeout"
NOT_SENT = "could not be sent"

log = structlog.get_logger()


class TooLate(Exception):
    """A try is not made within the claim that it is for: another makes it, or has made it."""


class Answer(Struct, frozen=True):
    """What one POST brought: an HTTP status, or a short error that may be shown to the customer.

    body: the first RESPONSE_BYTES of the answer's, which may repeat secrets.
    wish, retry_after: the headers `webhook-delivery` and `Retry-After` as they came, empty where there are none.
    unsent: nothing was sent, as what that needs on our side was not free.
    """

    status_code: int | None = None
    error: str | None = None
    body: bytes = b""
    connection_died: bool = False
    unsent: bool = False
    wish: str = ""
    retry_after: str = ""

    @property
    def is_ours(self) -> bool:
        """It failed on our side, which says nothing about the endpoint."""
        return self.error in (REFUSED, NOT_SENT)

    @property
    def verdict(self) -> Verdict:
        """What it means for what was sent."""
        if self.error == REFUSED:
            return Verdict.NEVER
        return Verdict.LATER if self.status_code is None else verdict(self.status_code, self.wish)


@dataclass(frozen=True, slots=True)
class Poster:
    """timeout: seconds for everything from the connection to the last byte of the answer."""

    vault: Vault
    keys: SigningSecrets
    client: PostClient
    timeout: float

    async def post(self, delivery: DueDelivery, until: float) -> Answer:
        """What came of one try; what is wrong on our side counts too, so that every delivery ends.

        until: when the claim ends, by this process's clock. Raises Unavailable when the database is away, and TooLate.
        """
        try:
            target = open_target(self.vault, delivery.target)
            secrets = await self.keys.of(delivery.workspace)
            if time.monotonic() + self.timeout > until:
                raise TooLate
            return await self._send(secrets, delivery.id, target.url, target.headers, delivery.body)
        except (Unavailable, TooLate):
            raise
        except Exception:
            log.exception("delivery.crashed", delivery=delivery.id, batch=delivery.batch)
            return Answer(error=NOT_SENT)

    async def send(self, workspace: str, id: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What came of one signed POST. headers: the customer's; id: what is sent as `webhook-id`.

        Raises Unavailable when the database is away.
        """
        return await self._send(await self.keys.of(workspace), id, url, headers, body)

    async def _send(self, secrets: Sequence[str], id: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        ours = {**signed_headers(secrets, id, int(time.time()), body), "content-type": "application/json"}
        try:
            async with asyncio.timeout(self.timeout):
                return await self._exchange(url, {**_foreign(headers, ours), **ours}, body)
        except AddressRefused:
            return Answer(error=REFUSED)
        except httpcore.PoolTimeout:  # it waited for something of ours
            return Answer(error=NOT_SENT, unsent=True)
        except (TimeoutError, httpcore.TimeoutException):
            return Answer(error=TIMED_OUT)
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Answer(error=_name(error), connection_died=True)

    async def _exchange(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        reply = await self.client.post(url, headers, body, RESPONSE_BYTES)
        return Answer(
            reply.status_code,
            body=reply.body,
            wish=reply.headers.get("webhook-delivery", ""),
            retry_after=reply.headers.get("retry-after", ""),
        )


def _foreign(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """The customer's headers but those that we set, however they are spelt; accepting refuses them already."""
    return {name: value for name, value in theirs.items() if name.lower() not in ours}


def _name(error: Exception) -> str:
    """A few words for a transport error; its own text may hold addresses."""
    if isinstance(error, httpcore.ConnectError):
        return why_not_connected(error)
    names: dict[type[Exception], str] = {
        httpcore.ReadError: CONNECTION_LOST,
        httpcore.WriteError: CONNECTION_LOST,
        httpcore.RemoteProtocolError: "invalid answer",
    }
    return next((text for kind, text in names.items() if isinstance(error, kind)), NOT_SENT)
