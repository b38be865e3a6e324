"""The signing secrets of webhooks, described for OpenAPI. Pure."""

from __future__ import annotations

from broker.api.description import Section, answer, parameter
from broker.api.own_examples import SECRETS
from broker.api.own_operations import operation, options
from broker.api.own_options import RotateOptions
from broker.api.own_wire import WebhookSecrets
from broker.api.schemas import Schema, model_schemas, ref
from broker.api.secret import NOT_KEPT, PATH
from broker.api.ximilar_errors import errors
from handlers.registry import Registry

TAG = "Webhook secrets"
_WORKSPACE = parameter("workspace", {"type": "string", "format": "uuid"}, "Whose; default: the token's own workspace.")


def section(_registry: Registry) -> Section:
    """The document's part about verifying webhooks; its errors have the shape of the first dialect."""
    return Section(
        tag=TAG,
        description="Webhooks are signed after Standard Webhooks 1.0: by a shared secret (`v1`), or by a key pair "
        "(`v1a`, ed25519) whose private half never leaves the service. After a rotation the old secret signs along "
        "for 24 hours, so that a receiver may take over the new one at any time of that day.",
        paths={PATH: {"get": _show(), "post": _rotate()}},
        schemas={
            **model_schemas("", (RotateOptions,), "validation"),
            **model_schemas("", (WebhookSecrets,), "serialization"),
        },
    )


def _show() -> Schema:
    return {
        **operation(TAG, "getWebhookSecrets", "admin", "Get the signing secrets", "Those in force, the newest first."),
        "parameters": [_WORKSPACE],
        "responses": {"200": _secrets("The secrets."), **errors(400, 401, 403, 503)},
    }


def _rotate() -> Schema:
    return {
        **operation(
            TAG,
            "rotateWebhookSecret",
            "admin",
            "Rotate the signing secret",
            "Makes a new one that signs within 5 seconds. Of the old ones, at most 10 sign along, each for 24 hours "
            "from its replacement.",
        ),
        **options(RotateOptions),
        "responses": {
            "200": _secrets("The secrets in force, the new one first."),
            **errors(400, 401, 403, 413, 415, 503),
        },
    }


def _secrets(description: str) -> Schema:
    headers = {
        name: {"description": "Secrets are kept nowhere on their way.", "required": True, "schema": {"const": value}}
        for name, value in NOT_KEPT.items()
    }
    return {**answer(description, ref("WebhookSecrets"), secrets=SECRETS), "headers": headers}
