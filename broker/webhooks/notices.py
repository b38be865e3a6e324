"""What the service tells its operator about endpoints: webhooks like all others, of a workspace of the operator's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from broker.batches import Webhook, new_id
from broker.deliveries import NewDelivery, seal_target
from broker.endpoints import Event, endpoint_of
from broker.secrets import Vault


@dataclass(frozen=True, slots=True)
class Notices:
    """workspace: id of the operator's, whose secret signs; url: where its webhooks go."""

    vault: Vault
    workspace: str
    url: str

    def tell(self, event: Event) -> NewDelivery | None:
        """The webhook that an event owes; none about the operator's own endpoint, which would hear of it in vain."""
        if event.workspace == self.workspace:
            return None
        return NewDelivery(
            id=new_id(),
            batch=None,
            workspace=self.workspace,
            run=1,
            event=event.kind,
            endpoint=endpoint_of(self.vault, self.workspace, self.url),
            target=seal_target(self.vault, Webhook(self.url)),
            body=notice(event),
        )


def notice(event: Event) -> bytes:
    """The bytes to send."""
    data = {
        "workspace": event.workspace,
        "endpoint": event.endpoint,
        "origin": event.origin,
        "reason": event.reason,
        "failures": event.failures,
        "delivery": event.delivery,
        "batch": event.batch,
    }
    return told(event.kind, event.at, data)


def told(type: str, at: int, data: Mapping[str, object]) -> bytes:
    """A body as Standard Webhooks 1.0 proposes it. at: ms since 1970."""
    timestamp = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": type, "timestamp": timestamp, "data": data}).encode()
