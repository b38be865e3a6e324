"""Which dialects exist, for the code that serves all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker.batches import Batch, Result
from broker.dialects.ximilar import codec as ximilar
from broker.dialects.ximilar import submission as ximilar_submission

RenderEvent = Callable[[Batch, Sequence[Result]], bytes]

EVENTS: Mapping[str, RenderEvent] = {ximilar_submission.NAME: ximilar.render_event}
"""Dialect -> the exact bytes of the webhook of a batch that is DONE; links in the results are made already."""
