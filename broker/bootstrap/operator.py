"""Whom the service tells about its webhooks: the operator, if there is an address."""

from __future__ import annotations

from contextlib import suppress

from broker.bootstrap.core import Core
from broker.errors import Conflict
from broker.provision import Provision
from broker.webhooks.notices import Notices

WORKSPACE = "operator"
"""Owns the operator's webhooks: its secret signs them, and its token lists and replays them."""


async def open_notices(core: Core) -> Notices | None:
    """None without BROKER_OPERATOR_WEBHOOK."""
    url = core.settings.operator_webhook
    if not url:
        return None
    provision = Provision(core.database, core.vault)
    with suppress(Conflict):  # it is there since an earlier start
        await provision.workspace(WORKSPACE)
    return Notices(core.vault, (await provision.find(WORKSPACE)).id, url)
