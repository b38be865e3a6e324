"""What a large picture costs by itself: libvips' operations on one file, and nothing else.

`python -m bench.bare_picture FILE same|resize` enlarges the file and prints the CPU seconds of that.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyvips

from handlers.upscaler import scale

WIDTH, HEIGHT, FACTOR = 4000, 3000, 2
PHOTOGRAPH = Path(__file__).parents[1] / "broker" / "cli" / "photographs" / "coffee.jpg"


def make(path: Path) -> None:
    """A JPEG of 12 megapixels, with the grain of a photograph."""
    photograph = pyvips.Image.new_from_file(str(PHOTOGRAPH))
    large = photograph.resize(WIDTH / photograph.width, vscale=HEIGHT / photograph.height)
    grain = pyvips.Image.gaussnoise(WIDTH, HEIGHT, sigma=4, seed=1)
    (large + grain).cast("uchar").copy(interpretation="srgb").write_to_file(str(path), Q=90)


def same(image: pyvips.Image) -> pyvips.Image:
    """As the upscaler does."""
    return scale.enlarge(image.copy_memory(), FACTOR)


def resize(image: pyvips.Image) -> pyvips.Image:
    """libvips' own, which enlarges by another kernel than it is given."""
    return image.resize(FACTOR, kernel="lanczos3")


def _main(file: str, operation: str) -> None:
    """On one thread, as in a worker; after a small one, as libvips loads some of itself when it is first needed."""
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    work = {"same": same, "resize": resize}[operation]
    _enlarge(str(PHOTOGRAPH), work)
    begin = time.process_time()
    _enlarge(file, work)
    print(time.process_time() - begin)


def _enlarge(file: str, work: Callable[[pyvips.Image], pyvips.Image]) -> None:
    """With the upscaler's options of a large JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        image = work(pyvips.Image.new_from_file(file, access="sequential"))
        image.write_to_file(f"{folder}/out.jpg", Q=95, subsample_mode="off", keep="icc")


if __name__ == "__main__":
    _main(*sys.argv[1:])
