"""Pictures that lie in a file while a handler makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handlers.contract import Config
from handlers.imaging import ScratchPicture


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 16), (70, 17), (33, 130)])
def test_blocks_in_any_order_are_one_picture(size: tuple[int, int], bands: int, config: Config, tmp_path: Path) -> None:
    width, height = size
    samples = np.random.default_rng(1).integers(0, 65536, (height, width, bands)).astype(np.float64) / 65535
    middle, half = width // 2, height // 2
    with ScratchPicture(tmp_path, width, height, bands) as picture:
        for rows in (slice(half, None), slice(0, half)):
            for columns in (slice(0, middle), slice(middle, None)):
                picture.write(columns.start, rows.start, samples[rows, columns])
        part = picture.read(middle, half, width - middle, height - half)
        opened = picture.open()
    assert np.abs(part - samples[half:, middle:]).max() < 1e-6
    assert (opened.width, opened.height, opened.bands, opened.format) == (width, height, bands, "ushort")
    read = opened.numpy().reshape(height, width, bands)
    assert np.abs(read - samples * 65535).max() < 1e-6


def test_overshoot_is_clipped_not_wrapped(config: Config, tmp_path: Path) -> None:
    with ScratchPicture(tmp_path, 2, 1, 1) as picture:
        picture.write(0, 0, np.array([[[-0.1], [1.1]]]))
        assert picture.read(0, 0, 2, 1).ravel().tolist() == [0.0, 1.0]


def test_file_that_was_not_opened_is_removed(config: Config, tmp_path: Path) -> None:
    with ScratchPicture(tmp_path, 9, 9, 1):
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
