"""The shipped upscaler called directly, without a broker; and what one large picture costs a process of its own.

`python -m bench.enlarging MEGAPIXELS` enlarges a JPEG twice into so many and prints megapixels, CPU seconds on one
thread, and bytes of memory at the peak, less those of the decoded picture.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pyvips
from PIL import Image
from pydantic import BaseModel

from bench.bare_picture import PHOTOGRAPH
from handlers.contract import JSON, Config, Facts, Record, Ref
from handlers.upscaler.handler import Upscaler
from handlers.upscaler.params import SPEC, UpscaleParams

NO_LIMIT = 10**9


class _Box:
    """Nobody cancels, nobody watches."""

    cancelled = False

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def progress(self, fraction: float) -> None:
        """Not shown."""

    def document(self, ref: Ref) -> BaseModel:
        raise KeyError(ref)

    def snapshot(self, kind: str, id: str) -> Path:
        raise KeyError(kind, id)

    async def run(self, type: str, endpoint: str, image: bytes, params: Mapping[str, JSON]) -> Facts:
        raise NotImplementedError


class Enlarger:
    """A handler on one thread with the shipped networks, without limits."""

    def __init__(self, scratch: Path) -> None:
        self._box, self._handler = _Box(scratch), Upscaler()
        self._handler.setup(Config(scratch / "no-models", 1, NO_LIMIT, NO_LIMIT, NO_LIMIT))

    def run(self, file: bytes, factor: int, **given: str) -> Facts:
        params = SPEC.endpoints[f"upscale_{factor}x"].model_validate(given)
        assert isinstance(params, UpscaleParams)
        return self._handler.run(Record(0, "r", file), params, self._box)

    def enlarge(self, picture: Image.Image, factor: int, **given: str) -> Image.Image:
        """Without loss on the way there and back."""
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        data = self.run(buffer.getvalue(), factor, **given)["_upscaled_image_url"].data
        return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)


def _main(megapixels: float) -> None:
    """The picture is made by another process, as a process's peak is never forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.jpg"
        subprocess.run([sys.executable, "-m", "bench.enlarging", str(megapixels), str(picture)], check=True)
        enlarger = Enlarger(Path(folder))
        begin = time.process_time()
        facts = enlarger.run(picture.read_bytes(), 2, mode="high_fidelity")
        seconds = time.process_time() - begin
    made = facts["_upscaled_width"] * facts["_upscaled_height"]
    memory = _peak() - 3 * facts["_width"] * facts["_height"]
    print(json.dumps({"megapixels": made / 1e6, "seconds": seconds, "memory": memory}))


def _peak() -> int:
    """Bytes of this program at most. What `getrusage` tells may be of the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _make(megapixels: float, path: Path) -> None:
    photograph = pyvips.Image.new_from_file(str(PHOTOGRAPH))
    zoom = (megapixels * 1e6 / 4 / (photograph.width * photograph.height)) ** 0.5
    photograph.resize(zoom).write_to_file(str(path), Q=95)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _make(float(sys.argv[1]), Path(sys.argv[2]))
    else:
        _main(float(sys.argv[1]))
