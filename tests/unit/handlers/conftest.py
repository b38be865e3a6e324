"""Real pictures, a real handler, and a box that records what the handler told it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from pydantic import BaseModel

from handlers import imaging
from handlers.contract import JSON, Config, Facts, Record, Ref
from handlers.upscaler.handler import Upscaler
from handlers.upscaler.params import SPEC, UpscaleParams

GOOD: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
"""Options that keep the loss of a test's own input small."""


class FolderBox:
    """A box over a folder. `cancel_at`: the progress, 0..1, at which its result stops being wanted."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.cancel_at = 2.0
        self.told: list[float] = []

    @property
    def cancelled(self) -> bool:
        return bool(self.told) and self.told[-1] >= self.cancel_at

    def progress(self, fraction: float) -> None:
        self.told.append(fraction)

    def document(self, ref: Ref) -> BaseModel:
        raise KeyError(ref)

    def snapshot(self, kind: str, id: str) -> Path:
        raise KeyError(kind, id)

    async def run(self, type: str, endpoint: str, image: bytes, params: Mapping[str, JSON]) -> Facts:
        raise AssertionError("no handler under test runs another one")


@pytest.fixture
def photographs() -> Path:
    return Path(__file__).parents[3] / "broker" / "cli" / "photographs"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config(
        models_dir=tmp_path,
        threads=1,
        max_image_bytes=8_000_000,
        max_image_pixels=4_000_000,
        max_output_pixels=32_000_000,
    )
    imaging.setup(config)
    return config


@pytest.fixture
def box(tmp_path: Path) -> FolderBox:
    return FolderBox(tmp_path)


@pytest.fixture
def scene(photographs: Path) -> Image.Image:
    """A photograph made small, without any symmetry: RGB, 60 x 40 pixels."""
    with Image.open(photographs / "coffee.jpg") as photograph:
        return photograph.convert("RGB").resize((60, 40), Image.Resampling.LANCZOS)


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """`encode(image, format, **options)`: a file of that format, as Pillow (HEIC: pillow-heif) writes it."""

    def encode(image: Image.Image, format: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        if format == "HEIC":
            pillow_heif.from_pillow(image).save(buffer, **{"quality": 95, "chroma": 444, **options})
        else:
            image.save(buffer, format, **{**GOOD.get(format, {}), **options})
        return buffer.getvalue()

    return encode


@pytest.fixture
def upscale(config: Config, box: FolderBox) -> Callable[..., tuple[Facts, Image.Image]]:
    """`upscale(file, endpoint, **parameters)`: the shipped handler's facts, and its result opened by Pillow."""
    handler = Upscaler()
    handler.setup(config)

    def upscale(file: bytes, endpoint: str = "upscale_2x", **given: str) -> tuple[Facts, Image.Image]:
        params = SPEC.endpoints[endpoint].model_validate(given)
        assert isinstance(params, UpscaleParams)
        facts = handler.run(Record(0, "r", file), params, box)
        result = Image.open(io.BytesIO(facts["_upscaled_image_url"].data))
        assert result.size == (facts["_upscaled_width"], facts["_upscaled_height"])
        return facts, result

    return upscale


@pytest.fixture
def difference() -> Callable[[Image.Image, Image.Image], float]:
    """Mean absolute difference of two pictures' samples, 0..255."""

    def difference(one: Image.Image, other: Image.Image) -> float:
        assert (one.mode, one.size) == (other.mode, other.size)
        return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())

    return difference
