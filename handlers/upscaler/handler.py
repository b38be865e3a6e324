"""One picture in, the enlarged picture and both sizes out."""

from __future__ import annotations

from handlers import imaging
from handlers.contract import Box, Config, Facts, Record
from handlers.upscaler import scale
from handlers.upscaler.params import UpscaleParams


class Upscaler:
    """Lanczos-3. A learned model takes the place of `scale` here: `setup` would load it from `config.models_dir`."""

    _config: Config

    def setup(self, config: Config) -> None:
        imaging.setup(config)
        self._config = config

    def run(self, record: Record, params: UpscaleParams, box: Box) -> Facts:
        """Facts in Ximilar's names, sizes in pixels. The result has the input's format where that can be written."""
        source = imaging.read_header(record.image, self._config)
        width, height = source.width * params.factor, source.height * params.factor
        source.check_result(width, height, self._config)
        upscaled = scale.enlarge(source.decode(), params.factor)
        return {
            "_width": source.width,
            "_height": source.height,
            "_upscaled_width": width,
            "_upscaled_height": height,
            "_upscaled_image_url": imaging.save(upscaled, source.encoding, "upscaled", box),
            "_method": scale.METHOD,
        }
