"""The enlarged pixels, against Pillow's own Lanczos filter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from handlers import imaging
from handlers.contract import Config
from handlers.upscaler import scale

LANCZOS = Image.Resampling.LANCZOS
EDGE = 3
"""Source pixels at the border, where this scaler repeats the last pixel and Pillow shortens the kernel."""
PART = (40, 20, 180, 120)
"""Left, top, width, height of what is enlarged of a photograph: all of one would be 15 million pixels."""


def inside(samples: np.ndarray, factor: int) -> np.ndarray:
    edge = EDGE * factor
    return samples[edge:-edge, edge:-edge].astype(float)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("name", ["chelsea.jpg", "coffee.jpg", "chelsea-face.webp"])
def test_photograph_is_enlarged_by_lanczos3(name: str, factor: int, photographs: Path, config: Config) -> None:
    file = (photographs / name).read_bytes()
    decoded = imaging.read_header(file, config).decode().crop(*PART)
    ours = scale.enlarge(decoded, factor).numpy()
    left, top, width, height = PART
    size = (width * factor, height * factor)
    with Image.open(photographs / name) as photograph:
        part = photograph.convert("RGB").crop((left, top, left + width, top + height))
        reference = np.asarray(part.resize(size, LANCZOS))
        bicubic = np.asarray(part.resize(size, Image.Resampling.BICUBIC))
    assert ours.shape == reference.shape
    error = np.abs(inside(ours, factor) - inside(reference, factor)).mean()
    assert error < 0.3
    assert error < np.abs(inside(bicubic, factor) - inside(reference, factor)).mean() / 2


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_sixteen_bits_are_exact(factor: int, scene: Image.Image) -> None:
    samples = np.random.default_rng(1).integers(0, 65536, (20, 30), dtype=np.uint16)
    ours = scale.enlarge(pyvips.Image.new_from_array(samples).copy(interpretation="grey16"), factor).numpy()
    reference = Image.fromarray(samples.astype(np.float32)).resize((30 * factor, 20 * factor), LANCZOS)
    clipped = np.clip(np.asarray(reference), 0, 65535)
    assert np.abs(inside(ours, factor) - inside(clipped, factor)).max() < 2


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_flat_picture_stays_flat_to_its_corners(level: int) -> None:
    flat = (pyvips.Image.black(9, 7, bands=3) + level).cast("uchar").copy(interpretation="srgb")
    enlarged = scale.enlarge(flat, 8)
    assert (enlarged.min(), enlarged.max()) == (level, level)


def test_invisible_colour_does_not_bleed_into_the_edge(scene: Image.Image) -> None:
    picture = scene.convert("RGBA")
    picture.paste((0, 255, 0, 0), (0, 0, 30, 40))
    ours = scale.enlarge(pyvips.Image.new_from_array(np.asarray(picture)).copy(interpretation="srgb"), 4).numpy()
    clean = np.asarray(scene.resize((240, 160), LANCZOS)).astype(int)
    naive = np.asarray(Image.merge("RGB", picture.split()[:3]).resize((240, 160), LANCZOS)).astype(int)
    edge = (slice(16, -16), slice(120, 124))
    assert (ours[edge][..., 3] > 100).all()
    greener = (ours[edge][..., 1] - clean[edge][..., 1]).mean()
    assert greener < 15 < (naive[edge][..., 1] - clean[edge][..., 1]).mean()


def test_opaque_alpha_changes_no_colour(scene: Image.Image) -> None:
    picture = pyvips.Image.new_from_array(np.asarray(scene)).copy(interpretation="srgb")
    opaque = picture.bandjoin(255).copy(interpretation="srgb")
    with_alpha = scale.enlarge(opaque, 2).numpy()
    assert np.abs(with_alpha[..., :3].astype(int) - scale.enlarge(picture, 2).numpy()).max() <= 1
    assert (with_alpha[..., 3] == 255).all()
