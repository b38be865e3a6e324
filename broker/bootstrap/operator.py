"""Whom the service tells about its webhooks: the operator, if there is an address."""

from __future__ import annotations

from broker.bootstrap.core import Core
from broker.provision import Provision
from broker.webhooks.notices import Notices


async def open_notices(core: Core) -> Notices | None:
    """None without BROKER_OPERATOR_WEBHOOK. Raises Misconfigured."""
    url = core.settings.operator_webhook
    if not url:
        return None
    workspace = await Provision(core.database, core.vault).operator()
    return Notices(core.vault, workspace.id, url)
