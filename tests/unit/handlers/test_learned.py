"""The enlarged pixels of the networks: tiles without seams, every colour model, better than Lanczos-3, cancelled."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from handlers.contract import Config, Facts, Record, RecordError
from handlers.upscaler import learned, scale
from handlers.upscaler.handler import Upscaler
from handlers.upscaler.network import Network
from handlers.upscaler.params import Upscale2x
from handlers.upscaler.slots import VARIANTS, chain, load_slots

Upscale = Callable[..., tuple[Facts, Image.Image]]
Encode = Callable[..., bytes]
Enlarge = Callable[..., np.ndarray]


def vips(picture: Image.Image | np.ndarray, interpretation: str) -> pyvips.Image:
    return pyvips.Image.new_from_array(np.asarray(picture)).copy(interpretation=interpretation)


def samples(image: pyvips.Image) -> np.ndarray:
    return np.asarray(image.numpy()).astype(int)


@pytest.fixture
def networks(config: Config) -> Callable[[str, int], Sequence[Network]]:
    slots = load_slots(config.models_dir, 1)
    return lambda variant, factor: chain(slots, variant, factor)


@pytest.fixture
def enlarge(networks: Callable[[str, int], Sequence[Network]], tmp_path: Path) -> Enlarge:
    def enlarge(image: pyvips.Image, factor: int = 2, variant: str = "clean") -> np.ndarray:
        made = samples(learned.enlarge(image, networks(variant, factor), tmp_path, lambda done: None))
        assert made.shape[:2] == (image.height * factor, image.width * factor)
        return made

    return enlarge


def cut(chain: Sequence[Network], **changes: int) -> Sequence[Network]:
    return [replace(network, card=network.card.model_copy(update=changes)) for network in chain]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("factor", [2, 4])
def test_tiles_show_no_seams(
    variant: str, factor: int, networks: Callable[..., Sequence[Network]], photographs: Path, tmp_path: Path
) -> None:
    with Image.open(photographs / "coffee.jpg") as photograph:
        picture = vips(photograph.convert("RGB").crop((100, 50, 303, 181)), "srgb")

    def made(**changes: int) -> np.ndarray:
        pieces = cut(networks(variant, factor), **changes)
        return samples(learned.enlarge(picture, pieces, tmp_path, lambda done: None))

    whole = made(tile=4096)
    for tile in (40, 47, 64, 150):
        assert np.abs(made(tile=tile) - whole).max() <= 1, tile
    assert np.abs(made(tile=40, margin=0) - whole).max() > 4, "this picture would show seams"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_flat_picture_stays_flat_to_its_corners(variant: str, level: int, enlarge: Enlarge) -> None:
    flat = (pyvips.Image.black(9, 7, bands=3) + level).cast("uchar").copy(interpretation="srgb")
    assert np.abs(enlarge(flat, 8, variant) - level).max() <= 2


def test_photograph_gains_over_lanczos(enlarge: Enlarge, photographs: Path) -> None:
    with Image.open(photographs / "coffee.jpg") as photograph:
        truth = photograph.convert("L")
    small = vips(truth.resize((truth.width // 2, truth.height // 2), Image.Resampling.BICUBIC), "b-w")
    inside = (slice(8, -8), slice(8, -8))

    def psnr(made: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / np.mean((made.squeeze()[inside] - np.asarray(truth, float)[inside]) ** 2)))

    assert psnr(enlarge(small)) > psnr(scale.enlarge(small, 2).numpy()) + 0.5


@pytest.mark.parametrize("variant", ["robust", "smooth"])
def test_compressed_photograph_gains_over_lanczos(
    variant: str, enlarge: Enlarge, photographs: Path, encode: Encode
) -> None:
    with Image.open(photographs / "coffee.jpg") as photograph:
        truth = photograph.convert("L")
    half = truth.resize((truth.width // 2, truth.height // 2), Image.Resampling.BICUBIC)
    small = vips(Image.open(io.BytesIO(encode(half, "JPEG", quality=50))), "b-w")
    inside = (slice(8, -8), slice(8, -8))

    def error(made: np.ndarray) -> float:
        return float(np.mean((made.squeeze()[inside] - np.asarray(truth, float)[inside]) ** 2))

    assert error(enlarge(small, 2, variant)) < 0.9 * error(scale.enlarge(small, 2).numpy())


def test_only_luma_is_changed(scene: Image.Image, enlarge: Enlarge) -> None:
    """Of muted colours, so that nothing is clipped: the colours' differences are those of Lanczos."""
    muted = vips((np.asarray(scene) * 0.4 + 80).astype(np.uint8), "srgb")
    ours, lanczos = enlarge(muted), scale.enlarge(muted, 2).numpy().astype(int)
    for one, other in ((0, 1), (1, 2)):
        assert np.abs((ours[..., one] - ours[..., other]) - (lanczos[..., one] - lanczos[..., other])).max() <= 2
    assert np.abs(ours - lanczos).max() > 4


def test_grey_is_the_luma_of_grey_colours(scene: Image.Image, enlarge: Enlarge) -> None:
    grey = scene.convert("L")
    colours = enlarge(vips(Image.merge("RGB", [grey] * 3), "srgb"))
    assert np.abs(colours - enlarge(vips(grey, "b-w")).reshape(80, 120, 1)).max() <= 1


def test_every_ink_of_cmyk_is_a_grey(scene: Image.Image, enlarge: Enlarge) -> None:
    cmyk = scene.convert("CMYK").point(lambda level: 255 - level)
    together = enlarge(vips(cmyk, "cmyk"))
    for band, ink in enumerate(cmyk.split()):
        assert np.abs(together[..., band] - enlarge(vips(ink, "b-w")).reshape(80, 120)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_finer_than_eight(channels: int, scene: Image.Image, enlarge: Enlarge) -> None:
    samples = np.asarray(scene)[..., :channels]
    shallow = enlarge(vips(samples, "srgb" if channels == 3 else "b-w"))
    deep = enlarge(vips(samples.astype(np.uint16) * 257, "rgb16" if channels == 3 else "grey16"))
    assert np.abs(deep / 257 - shallow).max() <= 0.6
    assert len(np.unique(deep)) > 2000


def test_invisible_colour_does_not_bleed_into_the_edge(scene: Image.Image, enlarge: Enlarge) -> None:
    picture = scene.convert("RGBA")
    picture.paste((0, 255, 0, 0), (0, 0, 30, 40))
    ours = enlarge(vips(picture, "srgb"), 4)
    clean = np.asarray(scene.resize((240, 160), Image.Resampling.LANCZOS)).astype(int)
    edge = (slice(16, -16), slice(120, 124))
    assert (ours[edge][..., 3] > 100).all()
    assert (ours[edge][..., 1] - clean[edge][..., 1]).mean() < 15


def test_opaque_alpha_changes_no_colour(scene: Image.Image, enlarge: Enlarge) -> None:
    picture = vips(scene, "srgb")
    with_alpha = enlarge(picture.bandjoin(255).copy(interpretation="srgb"))
    assert np.abs(with_alpha[..., :3] - enlarge(picture)).max() <= 1
    assert (with_alpha[..., 3] == 255).all()


def test_result_names_the_networks_in_their_order(scene: Image.Image, encode: Encode, upscale: Upscale) -> None:
    facts, _ = upscale(encode(scene, "JPEG", quality=60), "upscale_4x")
    assert facts["_method"] == "learned"
    names = [part.split(" ")[0] for part in facts["_model"].split(" + ")]
    assert names == ["robust_2x", "clean_2x"]


def test_progress_rises_to_one(scene: Image.Image, encode: Encode, upscale: Upscale, box: Any) -> None:
    upscale(encode(scene, "PNG"), "upscale_8x")
    assert box.told == sorted(box.told)
    assert 0 < box.told[0] < 0.5 < 0.9 < box.told[-1] <= 1


def test_cancelled_between_tiles(photographs: Path, config: Config, box: Any, tmp_path: Path) -> None:
    """After the first of its twelve tiles, with nothing left in the scratch folder."""
    handler = Upscaler()
    handler.setup(config)
    with Image.open(photographs / "coffee.jpg") as photograph:
        wide = photograph.convert("RGB").resize((1500, 1100))
    buffer = io.BytesIO()
    wide.save(buffer, "PNG", compress_level=1)
    box.cancel_at = 0.01
    params = Upscale2x.model_validate({})
    with pytest.raises(RecordError) as failed:
        handler.run(Record(0, "r", buffer.getvalue()), params, box)
    assert (failed.value.code, failed.value.text) == (499, "cancelled")
    assert len(box.told) == 1
    assert not list(tmp_path.iterdir())
