"""A network over a whole picture, tile by tile, in memory that the picture's size does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import pyvips

from handlers.imaging import ScratchPicture
from handlers.upscaler.network import Network

Step: TypeAlias = Callable[[float], None]
"""Told which share of the work is done, 0..1; raises to stop it."""


class Plane(Protocol):
    """What can be read block by block: float32, 0..1, (height, width, bands)."""

    width: int
    height: int
    bands: int

    def read(self, left: int, top: int, width: int, height: int) -> np.ndarray: ...


class PictureInMemory:
    """A plane of a picture with random access, whose samples are 0..`top`."""

    def __init__(self, image: pyvips.Image, top: float) -> None:
        self.width, self.height, self.bands = image.width, image.height, image.bands
        self._image, self._top = image, np.float32(top)

    def read(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        samples = self._image.crop(left, top, width, height).numpy().astype(np.float32)
        shaped: np.ndarray = samples.reshape(height, width, self.bands) / self._top
        return shaped


class Tile(NamedTuple):
    """In pixels of the plane; right and bottom are the first beyond."""

    left: int
    top: int
    right: int
    bottom: int


def enlarge(plane: Plane, network: Network, result: ScratchPicture, step: Step) -> None:
    """Fill `result`, of the plane's bands and the network's scale. Tiles overlap by its margin, so that none shows."""
    tiles = list(_tiles(plane.width, plane.height, network.card.tile - 2 * network.card.margin))
    for count, tile in enumerate(tiles, 1):
        block = _run(_surrounded(plane, tile, network.card.margin), network)
        result.write(tile.left * network.card.scale, tile.top * network.card.scale, block)
        step(count / len(tiles))


def _tiles(width: int, height: int, core: int) -> Iterator[Tile]:
    """Squares of `core` pixels, row by row; at the right and the lower end what is left."""
    for top in range(0, height, core):
        for left in range(0, width, core):
            yield Tile(left, top, min(left + core, width), min(top + core, height))


def _surrounded(plane: Plane, tile: Tile, margin: int) -> np.ndarray:
    """The tile and `margin` pixels around it; beyond the picture its last pixel is repeated."""
    left, top = max(tile.left - margin, 0), max(tile.top - margin, 0)
    right, bottom = min(tile.right + margin, plane.width), min(tile.bottom + margin, plane.height)
    rows = margin - (tile.top - top), margin - (bottom - tile.bottom)
    columns = margin - (tile.left - left), margin - (right - tile.right)
    return np.pad(plane.read(left, top, right - left, bottom - top), (rows, columns, (0, 0)), mode="edge")


def _run(samples: np.ndarray, network: Network) -> np.ndarray:
    """The enlarged tile without what surrounds it, in the bands of `samples`.

    A network of three channels gets one band three times, and the mean of its result is taken; one of a single channel
    gets three bands one by one.
    """
    height, width, bands = samples.shape
    if network.fixed:
        missing = (0, network.card.tile - height), (0, network.card.tile - width), (0, 0)
        samples = np.pad(samples, missing, mode="edge")
    if bands == network.channels:
        enlarged = network.run(samples)
    elif bands == 1:
        enlarged = network.run(np.repeat(samples, network.channels, axis=2)).mean(axis=2, keepdims=True)
    else:
        enlarged = np.concatenate([network.run(samples[..., [band]]) for band in range(bands)], axis=2)
    scale, edge = network.card.scale, network.card.margin * network.card.scale
    return enlarged[edge : height * scale - edge, edge : width * scale - edge]
