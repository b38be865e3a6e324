"""What a decoder says of a file before it decodes any pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyvips


@dataclass(frozen=True, slots=True)
class Header:
    """width, height: pixels of the upright picture. alpha: whether it has such a channel. load: decodes it upright."""

    width: int
    height: int
    alpha: bool
    load: Callable[[], pyvips.Image]
