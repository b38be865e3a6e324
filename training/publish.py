"""Put trained networks into the product, each with its card: `python -m training.publish VERSION [NAME ...]`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from training.evaluate import gains, means
from training.net import BODY, MARGIN
from training.recipes import OUTPUT, PICTURES, RECIPES

MODELS = Path(__file__).parents[1] / "handlers" / "upscaler" / "models"
TILE = 400
MEANT_FOR = {
    "clean": "pictures without loss; scaled down by a common resizer, nothing else",
    "robust": "pictures with traces of JPEG compression (quality 40 to 96) and some noise",
    "smooth": "noisy and strongly compressed pictures, whose noise is smoothed away",
}


def main() -> None:
    """Overwrite the named networks, all if none is named."""
    version, *names = sys.argv[1:]
    for name in names or list(RECIPES):
        data = (OUTPUT / f"{name}.onnx").read_bytes()
        (MODELS / f"{name}_2x.onnx").write_bytes(data)
        (MODELS / f"{name}_2x.json").write_text(json.dumps(_card(name, version, data), indent=2) + "\n")


def _card(name: str, version: str, data: bytes) -> dict[str, object]:
    recipe = RECIPES[name]
    return {
        "version": version,
        "scale": 2,
        "layout": "luma",
        "range": 1,
        "tile": TILE,
        "margin": MARGIN,
        "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "MIT, as the program that drew its training pictures and trained it",
        "meant_for": MEANT_FOR[name],
        "network": f"bicubic plus conv 5x5 1-{recipe.width}, {BODY} conv 3x3 {recipe.width}-{recipe.width}, conv 3x3 "
        f"{recipe.width}-4, pixel shuffle",
        "data": f"{PICTURES} pictures drawn by training/pictures.py; no photograph and no image file",
        "training": {"program": "make train", "steps": recipe.steps, "seed": recipe.seed},
        "figures": {
            "what": "mean gain over Lanczos-3 in dB of luma on the photographs of bench/photographs.py",
            **{kind: round(gain, 3) for kind, gain in means(gains(OUTPUT / f"{name}.onnx")).items()},
        },
    }


if __name__ == "__main__":
    main()
