"""Signed, expiring links to outputs: `<base>/media/<key>?expires=<s>&signature=<mac>`. SQL holds keys, never links."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from broker.batches import OUTPUT, Batch, Result
from broker.errors import Gone, NotFound
from broker.secrets import Purpose, Vault

MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and checks links. `public_url` stands before them; when it is empty, the Host of the batch's POST does."""

    vault: Vault
    public_url: str
    output_hours: float

    def resolve(self, batch: Batch, result: Result) -> Result:
        """The result with a link wherever its facts refer to an output. A link lives as long as its output.

        A good record of an earlier run keeps its output for as long as this run's are kept.
        """
        since = max(result.finished or time.time() * 1000, batch.modified)
        expires = int(since / 1000 + self.output_hours * 3600)
        base = self.public_url or batch.base_url
        return replace(result, facts=_replace_outputs(result.facts, lambda key: self.url(base, key, expires)))

    def url(self, base: str, key: str, expires: int) -> str:
        """A link to a blob. `expires` is in seconds since 1970."""
        return f"{base}/media/{key}?expires={expires}&signature={self.vault.sign(*_signed(key, expires))}"

    def check(self, key: str, expires: str, signature: str) -> None:
        """Raises NotFound for a link that we did not make, Gone for one whose time is over."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= MAX_DIGITS):
            raise NotFound()
        if not self.vault.verify(*_signed(key, int(expires)), signature):
            raise NotFound()
        if time.time() > int(expires):
            raise Gone("This link has expired.")


def stored(key: str) -> dict[str, str]:
    """What stands in facts for an output that lies under `key`."""
    return {OUTPUT: key}


def _signed(key: str, expires: int) -> tuple[Purpose, bytes]:
    return Purpose.MEDIA_LINK, f"{key}\n{expires}".encode()


def _replace_outputs(value: Any, link: Any) -> Any:
    if isinstance(value, Mapping):
        if OUTPUT in value:
            return link(value[OUTPUT])
        return {name: _replace_outputs(item, link) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_outputs(item, link) for item in value]
    return value
