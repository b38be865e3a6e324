"""A type whose records take no time.

Lies here as pip leaves a package; on PYTHONPATH the broker finds its type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.contract import Params, Spec

if TYPE_CHECKING:
    from handlers.contract import Box, Config, Facts, Record


class NoParams(Params):
    """No parameters."""


class Nothing:
    """On the event loop, so that no thread has to be woken."""

    def setup(self, config: Config) -> None:
        """Nothing to prepare."""

    async def run(self, record: Record, params: NoParams, box: Box) -> Facts:
        return {}


SPEC = Spec(
    type="nothing",
    endpoints={"nothing": NoParams},
    default_endpoint="nothing",
    handler="bench_types:Nothing",
    summary="Does nothing.",
)
