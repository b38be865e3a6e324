"""What a worker process does for the type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers import imaging
from handlers.contract import RecordError

if TYPE_CHECKING:
    from handlers.contract import Box, Config, Facts, Record
    from thumbnailer.params import ThumbnailParams


class Thumbnailer:
    """One instance a worker process; `run` may be called from several threads at once."""

    def setup(self, config: Config) -> None:
        imaging.setup(config)
        self._config = config

    def run(self, record: Record, params: ThumbnailParams, box: Box) -> Facts:
        """The thumbnail and its size in pixels. Raises RecordError 422 if the picture is smaller than the box."""
        source = imaging.read_header(record.image, self._config)
        covers = params.fit == "cover"
        deciding = min if covers else max
        if deciding(source.width, source.height) < params.size:
            sizes = f"{source.width} x {source.height} pixels is smaller than a thumbnail of {params.size}"
            raise RecordError(422, f"the image of {sizes}")
        crop = "centre" if covers else "none"
        thumbnail = source.decode().thumbnail_image(params.size, height=params.size, crop=crop)
        return {
            "_thumbnail_width": thumbnail.width,
            "_thumbnail_height": thumbnail.height,
            "_thumbnail_url": imaging.save(thumbnail, source.encoding, "thumbnail", box),
        }
