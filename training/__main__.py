"""`python -m training [NAME ...]`: draw, train and export each network into `training/output/`, on one thread."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from training.data import degraded, pool
from training.export import export
from training.recipes import OUTPUT, PICTURES, RECIPES
from training.train import train


def main() -> None:
    """Print what each took; the networks are judged by `python -m training.evaluate`."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", default=list(RECIPES), metavar="NAME", help=", ".join(RECIPES))
    arguments.add_argument("--output", type=Path, default=OUTPUT, help="folder of pictures and networks")
    arguments.add_argument("--part", type=float, default=1.0, help="of the steps, to try something out")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    begin = time.monotonic()
    pictures = pool(PICTURES, asked.output)
    print(f"{len(pictures)} pictures, {time.monotonic() - begin:.0f} s", flush=True)
    for name in asked.names:
        begin, recipe = time.monotonic(), RECIPES[name]
        small = degraded(pictures, name)
        net = train(pictures, small, replace(recipe, steps=int(recipe.steps * asked.part)))
        export(net, asked.output / f"{name}.onnx")
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
