"""The network: a few convolutions on the small picture that say what a fixed bicubic enlargement lacks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

BODY = 4
"""Convolutions of 3 x 3 between the first, of 5 x 5, and the last."""
MARGIN = 2 + BODY + 1
"""Pixels of the input at each side that the output lacks, as no convolution pads."""
BASE_MARGIN = 2


def bicubic_weights() -> torch.Tensor:
    """(4, 1, 5, 5): for each of the four pixels of the result, row by row, Keys' cubic (a = -1/2) around its place."""
    phases = torch.tensor([[_keys(tap + 0.25) for tap in range(-2, 3)], [_keys(tap - 0.25) for tap in range(-2, 3)]])
    return torch.einsum("ai,bj->abij", phases, phases).reshape(4, 1, 5, 5)


def _keys(x: float) -> float:
    """Keys 1981, "Cubic convolution interpolation", with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


class Doubler(nn.Module):
    """(n, 1, h, w) of luma in 0..1 -> (n, 1, 2 (h - 2 MARGIN), 2 (w - 2 MARGIN)).

    quick: compute all but the first layer and the base, which need the precision, in bfloat16; for training only.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.quick = False
        self.head = nn.Conv2d(1, width, 5)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3) for _ in range(BODY))
        self.tail = nn.Conv2d(width, 4, 3)
        self.register_buffer("base", bicubic_weights())
        for conv in (self.head, *self.body):
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)
        nn.init.normal_(self.tail.weight, std=1e-3)
        nn.init.zeros_(self.tail.bias)

    def forward(self, small: torch.Tensor) -> torch.Tensor:
        first = functional.relu(self.head(small))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.quick):
            features = first
            for conv in self.body:
                features = functional.relu(conv(features))
            detail = self.tail(features + first[:, :, BODY:-BODY, BODY:-BODY])
        cut = MARGIN - BASE_MARGIN
        base = functional.conv2d(small[:, :, cut:-cut, cut:-cut], self.base)
        return functional.pixel_shuffle(base + detail.float(), 2)
