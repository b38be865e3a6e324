"""Where the service may connect to, by its settings."""

from __future__ import annotations

from broker.errors import Invalid, Misconfigured
from broker.net.addresses import Policy
from broker.net.urls import check_url
from broker.settings import Settings


def policy_of(settings: Settings) -> Policy:
    return Policy(settings.networks, settings.ports, settings.hosts)


def check_operator_webhook(settings: Settings) -> None:
    """Raises Misconfigured for a BROKER_OPERATOR_WEBHOOK that could never be sent."""
    if not settings.operator_webhook:
        return
    try:
        check_url(settings.operator_webhook, policy_of(settings))
    except Invalid as error:
        raise Misconfigured(f"BROKER_OPERATOR_WEBHOOK: {error.message}") from error
