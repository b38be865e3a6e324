"""What networks gain over Lanczos-3 on photographs: `python -m training.evaluate [FILE ...]`, in dB of luma."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from bench import photographs
from training.recipes import OUTPUT


def gains(file: Path) -> Mapping[str, Mapping[str, float]]:
    """Photograph -> kind of input -> dB over Lanczos-3."""
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    return {name: _gains(session, one) for name, one in photographs.photographs().items()}


def means(found: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
    """Kind of input -> dB."""
    return {kind: float(np.mean([row[kind] for row in found.values()])) for kind in photographs.KINDS}


def _gains(session: onnxruntime.InferenceSession, photograph: Image.Image) -> Mapping[str, float]:
    truth = photographs.luma(photograph)
    found = {}
    for kind in photographs.KINDS:
        small = Image.open(io.BytesIO(photographs.small(photograph, kind)))
        lanczos = photographs.luma(small.resize(photograph.size, Image.Resampling.LANCZOS))
        (enlarged,) = session.run(None, {"luma": photographs.luma(small)[None, None].astype(np.float32) / 255})
        ours = (enlarged[0, 0] * 255).round().clip(0, 255)
        found[kind] = photographs.psnr(ours, truth) - photographs.psnr(lanczos, truth)
    return found


def main() -> None:
    """A row for each photograph, a column for each kind of input, and means."""
    for file in [Path(name) for name in sys.argv[1:]] or sorted(OUTPUT.glob("*.onnx")):
        found = gains(file)
        print(f"{file.name:22}" + "".join(f"{kind:>10}" for kind in photographs.KINDS))
        for name, row in {**found, "mean": means(found)}.items():
            print(f"{name:22}" + "".join(f"{row[kind]:+10.3f}" for kind in photographs.KINDS), flush=True)


if __name__ == "__main__":
    main()
