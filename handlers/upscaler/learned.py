"""Enlarging by networks: luma or whole colours by them, the rest by Lanczos-3."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path

import pyvips

from handlers.imaging import ScratchPicture
from handlers.upscaler import scale, tiles
from handlers.upscaler.network import Network

METHOD = "learned"
_LUMA = [0.299, 0.587, 0.114]
"""ITU-R BT.601, of the encoded values, as the networks were trained."""
_CHROMA = [[float(row == column) - _LUMA[column] for column in range(3)] for row in range(3)]
"""Each colour less luma."""


def enlarge(image: pyvips.Image, chain: Sequence[Network], scratch: Path, step: tiles.Step) -> pyvips.Image:
    """The picture enlarged by each network in turn, same channels, depth and profile; networks run at once, files in
    `scratch` hold what they made, and the rest is computed when the picture is saved.

    A network of luma says what luma is, Lanczos-3 by how much each colour differs from it. Grey, and each ink of CMYK,
    is a luma of its own. Colour is multiplied by alpha meanwhile, and alpha is Lanczos'.
    """
    if not image.hasalpha():
        return scale.restored(_colours(image, image, chain, scratch, step), image)
    multiplied = image.premultiply()
    colours = _colours(multiplied.extract_band(0, n=image.bands - 1), image, chain, scratch, step)
    alpha = scale.stretch(multiplied.extract_band(image.bands - 1), _factor(chain))
    joined = colours.bandjoin(alpha).copy(interpretation=image.interpretation)
    return scale.restored(joined.unpremultiply(), image)


def _factor(chain: Sequence[Network]) -> int:
    return prod(network.card.scale for network in chain)


def _colours(
    colours: pyvips.Image, image: pyvips.Image, chain: Sequence[Network], scratch: Path, step: tiles.Step
) -> pyvips.Image:
    """Float, on the scale of the samples of `image`."""
    top = 65535.0 if image.format == "ushort" else 255.0
    if colours.bands == 3 and chain[0].card.layout == "luma":
        luma = _chained(tiles.PictureInMemory(colours.recomb([_LUMA]), top), chain, scratch, step)
        return scale.stretch(colours.recomb(_CHROMA), _factor(chain)) + luma * (top / 65535)
    planes = [colours] if colours.bands == 3 else colours.bandsplit()
    made = []
    for number, plane in enumerate(planes):
        share = _between(step, number / len(planes), (number + 1) / len(planes))
        made.append(_chained(tiles.PictureInMemory(plane, top), chain, scratch, share))
    return made[0].bandjoin(made[1:]) * (top / 65535)


def _chained(plane: tiles.Plane, chain: Sequence[Network], scratch: Path, step: tiles.Step) -> pyvips.Image:
    """`ushort`, as many bands as `plane`, to be read once from its top."""
    areas = [_factor(chain[: index + 1]) ** 2 for index in range(len(chain))]
    with ExitStack() as stack:
        for index, network in enumerate(chain):
            size = plane.width * network.card.scale, plane.height * network.card.scale
            picture = stack.enter_context(ScratchPicture(scratch, *size, plane.bands))
            begin, end = (sum(areas[:passed]) / sum(areas) for passed in (index, index + 1))
            tiles.enlarge(plane, network, picture, _between(step, begin, end))
            if index == len(chain) - 1:
                return picture.open()
            plane = picture
    raise ValueError("no network")


def _between(step: tiles.Step, begin: float, end: float) -> tiles.Step:
    return lambda done: step(begin + (end - begin) * done)
