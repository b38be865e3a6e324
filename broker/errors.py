"""Every way the broker says no.

BrokerError                 code, public message, whether trying again can help
├── Invalid                 the caller's input, with the fields that are wrong
├── Unauthenticated         no token, or one that is not known
├── Forbidden               a token without the right
├── NotFound                nothing of that id that the caller may see
├── MethodNotAllowed        the path exists, not with this verb
├── Conflict                not in this state
├── Gone                    it was there; its time is over
├── TooLarge                more bytes than the limit
├── UnsupportedMediaType    not JSON
├── TooManyQueued           the workspace has as many open batches as it may     (again later)
├── TooManyAtOnce           the workspace has as much under way as it may            (again later)
├── Unavailable             database, disk or queue cannot take it now           (again later)
├── AddressRefused          a URL that leads where the broker does not go
└── Misconfigured           the operator's settings; the process does not start

The message is what a customer or operator may read: never an address, a path, a query or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

FieldErrors: TypeAlias = Mapping[str, Any]
"""Field name -> list of messages, or a nested mapping of the same kind."""


class BrokerError(Exception):
    """Root of the tree. `code` is the stable word that logs and dialects key on."""

    code = "error"
    retryable = False
    message = "Something went wrong."

    def __init__(self, message: str | None = None, *, retry_after: int | None = None) -> None:
        self.message = message or type(self).message
        self.retry_after = retry_after
        super().__init__(self.message)


class Invalid(BrokerError):
    """The input is wrong. `fields` names where; empty when the body as a whole is."""

    code = "invalid"
    message = "Invalid input."

    def __init__(self, message: str | None = None, *, fields: FieldErrors | None = None) -> None:
        super().__init__(message or _first_message(fields))
        self.fields: FieldErrors = fields or {}


class Unauthenticated(BrokerError):
    code = "unauthenticated"
    message = "Authentication credentials were not provided."


class Forbidden(BrokerError):
    code = "forbidden"
    message = "You are not allowed to access this service."

    @classmethod
    def without(cls, right: str) -> Self:
        """For a token that lacks this right."""
        return cls(f"You are not allowed to access this service: it needs the right `{right}`.")


class NotFound(BrokerError):
    code = "not_found"
    message = "Not found."


class MethodNotAllowed(BrokerError):
    code = "method_not_allowed"
    message = "Method not allowed."

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f'Method "{method}" not allowed.')
        self.allowed = tuple(allowed)


class Conflict(BrokerError):
    code = "conflict"
    message = "Not possible in the present state."


class Gone(BrokerError):
    code = "gone"
    message = "Expired."


class TooLarge(BrokerError):
    code = "too_large"
    message = "The request body is too large."


class UnsupportedMediaType(BrokerError):
    code = "unsupported_media_type"
    message = "Unsupported media type; send application/json."


class TooManyQueued(BrokerError):
    code = "too_many_queued"
    retryable = True
    message = "Too many open requests; wait until some of them are done."


class TooManyAtOnce(BrokerError):
    code = "too_many_at_once"
    retryable = True
    message = "Too many requests at once; wait until some of them are answered."


class Unavailable(BrokerError):
    code = "unavailable"
    retryable = True
    message = "The service cannot take the request now. Try again shortly."


class AddressRefused(BrokerError):
    code = "address_refused"
    message = "address not allowed"


class Misconfigured(BrokerError):
    code = "misconfigured"
    message = "The settings are not usable."


def _first_message(fields: FieldErrors | None) -> str | None:
    for name, value in (fields or {}).items():
        if isinstance(value, Mapping):
            return f"{name}: {_first_message(value)}"
        return f"{name}: {value[0]}" if value else None
    return None
