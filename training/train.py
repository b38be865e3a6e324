"""Train one network: the same weights each time on one machine, from the recipe's seed."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch

from training.data import batches
from training.net import MARGIN, Doubler
from training.recipes import Recipe

BATCH, PATCH = 8, 64
RATE = 2e-3
AVERAGE = 0.999
QUICK = 0.9
"""Share of the steps that compute in bfloat16, which takes half the time; the last ones do not."""


def train(pictures: np.ndarray, small: np.ndarray, recipe: Recipe) -> Doubler:
    """L1, then L2, by Adam, the rate falling along a cosine to 0; the weights' running mean is what comes back."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    steps = recipe.steps
    net = Doubler(recipe.width)
    mean = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    begin, loss_mean = time.monotonic(), 0.0
    for step, (low, high) in enumerate(batches(pictures, small, steps, BATCH, PATCH, MARGIN), 1):
        net.quick = step <= QUICK * steps
        error = net(low) - high
        loss = error.abs().mean() if step <= recipe.absolute * steps else error.square().mean()
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
