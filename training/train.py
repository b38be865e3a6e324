"""Train one network from a seed: `python -m training.train NAME`, the same weights each time on one machine."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch

from training.data import batches
from training.net import MARGIN, Doubler

BATCH, PATCH = 8, 64
AVERAGE = 0.999
ABSOLUTE = 0.6
"""Share of the steps that lessen L1, which learns faster; the others lessen L2, which PSNR measures."""
QUICK = 0.9
"""Share of the steps that compute in bfloat16, which takes half the time; the last ones do not."""


def train(pictures: np.ndarray, small: np.ndarray, width: int, steps: int, seed: int, rate: float = 2e-3) -> Doubler:
    """L1, then L2, by Adam, the rate falling along a cosine to 0; the weights' running mean is what comes back."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    net = Doubler(width)
    mean = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begin, loss_mean = time.monotonic(), 0.0
    for step, (low, high) in enumerate(batches(pictures, small, steps, BATCH, PATCH, MARGIN), 1):
        net.quick = step <= QUICK * steps
        error = net(low) - high
        loss = error.abs().mean() if step <= ABSOLUTE * steps else error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        _follow(mean, net, min(AVERAGE, step / (step + 10)))
        loss_mean += (error.detach().abs().mean().item() - loss_mean) / min(step, 200)
        if step % 500 == 0:
            print(f"{step} of {steps}: L1 {255 * loss_mean:.3f}, {time.monotonic() - begin:.0f} s", flush=True)
    return mean


@torch.no_grad()
def _follow(mean: Doubler, net: Doubler, keep: float) -> None:
    for slow, fast in zip(mean.parameters(), net.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)
