"""How a result is written: options, place, progress, cancelling, and a disk that fails."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image, JpegImagePlugin

from handlers import imaging
from handlers.contract import Config, RecordError
from handlers.imaging import Encoding, Format
from handlers.imaging.encode import INLINE_PIXELS
from handlers.upscaler import scale


@pytest.fixture
def noise(config: Config) -> pyvips.Image:
    samples = np.random.default_rng(2).integers(0, 256, (1000, 1001, 3), dtype=np.uint8)
    return pyvips.Image.new_from_array(samples).copy(interpretation="srgb")


def test_jpeg_has_quality_95_and_full_colour_resolution(noise: pyvips.Image, box: Any) -> None:
    output = imaging.save(noise, Encoding(Format.JPEG), "picture", box)
    assert (output.name, output.media_type) == ("picture.jpg", "image/jpeg")
    assert isinstance(output.data, bytes)
    with Image.open(io.BytesIO(output.data)) as written:
        assert isinstance(written, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(written) == 0
        # Quality 95 is a tenth of the standard's table of luminance (ITU T.81, K.1), whose first entry is 16.
        assert written.quantization[0][0] == 2


def test_only_a_small_jpeg_has_codes_of_its_own(noise: pyvips.Image, box: Any) -> None:
    """They make it smaller, but libjpeg then holds every coefficient in memory until the last line is there."""
    common = bytes((0, 0, 1, 5, *[1] * 6, *[0] * 7, *range(12)))  # T.81, table K.3, behind its number
    small = imaging.save(noise, Encoding(Format.JPEG), "picture", box).data
    assert isinstance(small, bytes)
    assert common not in small
    large = imaging.save(scale.enlarge(noise, 4), Encoding(Format.JPEG), "picture", box).data
    assert isinstance(large, Path)
    assert common in large.read_bytes()


def test_progress_goes_on_from_what_was_made_before(noise: pyvips.Image, box: Any) -> None:
    imaging.save(noise, Encoding(Format.PNG), "picture", box, begin=0.8)
    assert box.told == sorted(box.told)
    assert 0.8 <= box.told[0] < 0.9 < box.told[-1] <= 1


def test_alpha_becomes_white_in_a_jpeg(config: Config, box: Any) -> None:
    clear = pyvips.Image.black(8, 8, bands=4).copy(interpretation="srgb")
    output = imaging.save(clear, Encoding(Format.JPEG), "picture", box)
    assert isinstance(output.data, bytes)
    with Image.open(io.BytesIO(output.data)) as written:
        assert written.getpixel((4, 4)) == (255, 255, 255)


def test_small_result_stays_in_memory(noise: pyvips.Image, box: Any, tmp_path: Path) -> None:
    assert isinstance(imaging.save(noise, Encoding(Format.PNG), "picture", box).data, bytes)
    assert not list(tmp_path.iterdir())


def test_large_results_go_to_files_of_their_own(noise: pyvips.Image, box: Any, tmp_path: Path) -> None:
    large = scale.enlarge(noise, 4)
    assert large.width * large.height > INLINE_PIXELS
    outputs = [imaging.save(large, Encoding(Format.JPEG), "picture", box) for _ in range(2)]
    paths = [output.data for output in outputs]
    assert all(isinstance(path, Path) and path.parent == tmp_path for path in paths)
    assert len(set(paths)) == 2
    assert {output.name for output in outputs} == {"picture.jpg"}
    with Image.open(paths[0]) as written:
        assert written.size == (4004, 4000)


def test_progress_is_told_up_to_the_end(noise: pyvips.Image, box: Any) -> None:
    imaging.save(scale.enlarge(noise, 2), Encoding(Format.JPEG), "picture", box)
    assert box.told == sorted(set(box.told))
    assert box.told[-1] >= 0.95
    assert len(box.told) > 10


def test_cancelled_result_is_not_finished(noise: pyvips.Image, box: Any) -> None:
    box.cancel_at = 0.1
    with pytest.raises(RecordError) as stopped:
        imaging.save(scale.enlarge(noise, 4), Encoding(Format.PNG), "picture", box)
    assert (stopped.value.code, stopped.value.text) == (499, "cancelled")
    assert box.told[-1] < 0.5


def test_failing_disk_is_not_the_customers_fault(noise: pyvips.Image, box: Any, tmp_path: Path) -> None:
    box.scratch = tmp_path / "gone"
    with pytest.raises(OSError, match="gone"):
        imaging.save(scale.enlarge(noise, 4), Encoding(Format.JPEG), "picture", box)


def test_failing_encoder_is_not_the_customers_fault(config: Config, box: Any) -> None:
    with pytest.raises(OSError, match="the WebP result could not be written"):
        imaging.save(pyvips.Image.black(16_384, 1, bands=3), Encoding(Format.WEBP), "picture", box)


def test_one_handler_serves_many_threads(scene: Image.Image, encode: Callable[..., bytes], upscale: Any) -> None:
    files = [encode(scene.rotate(angle), format) for angle in range(0, 40, 10) for format in ("PNG", "WEBP", "GIF")]
    alone = [upscale(file)[0]["_upscaled_image_url"].data for file in files]
    with ThreadPoolExecutor(4) as pool:
        together = [facts["_upscaled_image_url"].data for facts, _ in pool.map(upscale, files * 3)]
    assert together == alone * 3
