"""What the upscaler's networks gain over filters, and what they cost: `python -m bench.upscale`.

The photographs of `bench.photographs` are made small and enlarged by the shipped handler, each kind by the mode that is
meant for it, and by Lanczos-3 (the handler's `classic`) and bicubic (Pillow). Speed is output megapixels a second of
CPU time on one thread, decoding and encoding included. Memory is the peak of a process that enlarges one picture, less
the decoded picture that it holds.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer
from PIL import Image

from bench import photographs
from bench.enlarging import Enlarger
from bench.figures import Figure, rows

INTENDED = {
    "clean": "high_fidelity",
    "JPEG-90": "high_fidelity",
    "JPEG-75": "artifact_removal",
    "noise": "ironed_out",
}
"""Kind of input -> the mode that is meant for it: for JPEGs, the one whose network they get where no mode is given."""
CLEAN_GAIN, COMPRESSED_GAIN, WORST, SPEED, GROWTH = 1.6, 0.7, -0.05, 5.0, 1.10
"""Targets: dB, dB, dB of the photograph that gains least, MP/s, times."""
MEGAPIXELS = 12, 50, 200
"""Of results whose cost is measured: for speed, and for memory the smaller and the larger."""


@dataclass(frozen=True, slots=True)
class Score:
    """One photograph. Each by method: dB, and SSIM."""

    psnr: Mapping[str, float]
    ssim: Mapping[str, float]

    def gain(self, method: str = "ours", over: str = "lanczos") -> float:
        return self.psnr[method] - self.psnr[over]


def figures() -> list[Figure]:
    """Against the targets."""
    return list(_figures(_scores(2), _costs()))


def main(factor: Annotated[int, typer.Option(help="2, 4 or 8.")] = 2, costs: bool = True) -> None:
    """Print the tables, and with `--costs` measure speed and memory too."""
    scores = _scores(factor)
    for kind, found in scores.items():
        print(*_table(kind, found), sep="\n")
    if factor == 2:
        print(*rows(_figures(scores, _costs() if costs else None)), sep="\n")


def _scores(factor: int) -> Mapping[str, Mapping[str, Score]]:
    """Kind -> photograph -> score."""
    with tempfile.TemporaryDirectory() as scratch:
        enlarger = Enlarger(Path(scratch))
        pictures = photographs.photographs(factor)
        return {
            kind: {name: _score(one, kind, factor, enlarger) for name, one in pictures.items()}
            for kind in photographs.KINDS
        }


def _score(photograph: Image.Image, kind: str, factor: int, enlarger: Enlarger) -> Score:
    small = Image.open(io.BytesIO(photographs.small(photograph, kind, factor)))
    methods: Mapping[str, Callable[[], Image.Image]] = {
        "bicubic": lambda: small.resize(photograph.size, Image.Resampling.BICUBIC),
        "lanczos": lambda: enlarger.enlarge(small, factor, model_type="classic"),
        "ours": lambda: enlarger.enlarge(small, factor, mode=INTENDED[kind]),
    }
    truth = photographs.luma(photograph)
    found = {name: photographs.luma(make()) for name, make in methods.items()}
    return Score(
        {name: photographs.psnr(one, truth) for name, one in found.items()},
        {name: photographs.ssim(one, truth) for name, one in found.items()},
    )


def _table(kind: str, scores: Mapping[str, Score]) -> Iterator[str]:
    methods = list(next(iter(scores.values())).psnr)
    yield f"{kind + ' (' + INTENDED[kind] + ')':28}" + "".join(f"{name:>17}" for name in methods) + "      gain"
    for name, score in scores.items():
        cells = "".join(f"{score.psnr[method]:9.2f} {score.ssim[method]:.4f} " for method in methods)
        yield f"{name:28}{cells}{score.gain():+10.2f}"
    means = "".join(
        f"{fmean(one.psnr[method] for one in scores.values()):9.2f} "
        f"{fmean(one.ssim[method] for one in scores.values()):.4f} "
        for method in methods
    )
    yield f"{'mean':28}{means}{_gain(scores):+10.2f}\n"


def _gain(scores: Mapping[str, Score]) -> float:
    return fmean(one.gain() for one in scores.values())


def _figures(scores: Mapping[str, Mapping[str, Score]], costs: tuple[float, float] | None) -> Iterator[Figure]:
    yield Figure("clean photographs, mean gain over Lanczos-3, dB", _gain(scores["clean"]), CLEAN_GAIN)
    yield Figure("JPEG-75 photographs, mean gain over Lanczos-3, dB", _gain(scores["JPEG-75"]), COMPRESSED_GAIN)
    worst = min(one.gain() for found in scores.values() for one in found.values())
    yield Figure("the photograph that gains least in any kind, dB", worst, WORST)
    if costs is not None:
        yield Figure("learned enlarging on one core, output MP/s", costs[0], SPEED)
        yield Figure("memory at 200 over 50 MP of output, less the input", costs[1], GROWTH, most=True)


def _costs() -> tuple[float, float]:
    """MP/s of CPU time, and peak memory at the largest result over that at the middle one."""
    small, middle, large = (_cost(size) for size in MEGAPIXELS)
    return small["megapixels"] / small["seconds"], large["memory"] / middle["memory"]


def _cost(megapixels: int) -> Mapping[str, float]:
    command: Sequence[str] = [sys.executable, "-m", "bench.enlarging", str(megapixels)]
    measured: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    print(f"{megapixels} MP: {measured}", file=sys.stderr)
    return measured


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
