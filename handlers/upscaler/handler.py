"""One picture in, the enlarged picture and both sizes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyvips

from handlers import imaging
from handlers.contract import Box, Config, Facts, Record, RecordError
from handlers.upscaler import learned, scale
from handlers.upscaler.choice import variant
from handlers.upscaler.network import Network
from handlers.upscaler.params import UpscaleParams
from handlers.upscaler.slots import chain, load_slots

_NETWORKS_SHARE = 0.8
"""Of a record's work, about, is running the networks; the rest is Lanczos-3 and encoding."""


class Upscaler:
    """By networks, or by Lanczos-3 where `model_type` asks for it; the result says which."""

    _config: Config
    _slots: Mapping[str, Network]

    def setup(self, config: Config) -> None:
        """Raises UnusableModel for a model file that cannot be used."""
        imaging.setup(config)
        self._config = config
        self._slots = load_slots(config.models_dir, config.threads)

    def run(self, record: Record, params: UpscaleParams, box: Box) -> Facts:
        """Facts in Ximilar's names, sizes in pixels. The result has the input's format where that can be written."""
        source = imaging.read_header(record.image, self._config)
        width, height = source.width * params.factor, source.height * params.factor
        source.check_result(width, height, self._config)
        chosen = variant(params, source)
        networks = chain(self._slots, chosen, params.factor) if chosen else []
        upscaled = _enlarge(source.decode(), params.factor, networks, box)
        return {
            "_width": source.width,
            "_height": source.height,
            "_upscaled_width": width,
            "_upscaled_height": height,
            "_upscaled_image_url": imaging.save(
                upscaled, source.encoding, "upscaled", box, begin=_NETWORKS_SHARE if networks else 0.0
            ),
            **_method(networks),
        }


def _enlarge(image: pyvips.Image, factor: int, networks: Sequence[Network], box: Box) -> pyvips.Image:
    if not networks:
        return scale.enlarge(image, factor)

    def step(done: float) -> None:
        box.progress(_NETWORKS_SHARE * done)
        if box.cancelled:
            raise RecordError(499, "cancelled")

    return learned.enlarge(image, networks, box.scratch, step)


def _method(networks: Sequence[Network]) -> Facts:
    if not networks:
        return {"_method": scale.METHOD}
    return {"_method": learned.METHOD, "_model": " + ".join(f"{one.name} {one.card.version}" for one in networks)}
