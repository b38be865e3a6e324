"""The first renderer's damage, worked into a card's texture before it is photographed."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator

from bench.cards.art import PAD, Card, Texture
from bench.cards.damage import Damage
from bench.cards.truth import HEIGHT, RADIUS, WIDTH

PAPER = (244.0, 243.0, 238.0)
"""Colour of bare paper."""
_PRINT = (4.0, 59.0, 4.0, 84.0)
"""Left, right, top and bottom of where scratches and dents lie, millimetres."""


def worn(card: Card, damage: Damage, random: Generator) -> Card:
    """The card with that damage; where it lies is random but for corners and edges."""
    texture = card.texture.copy()
    plane = _Plane(texture.shape[:2], card.scale, random)
    _surface(texture, damage, plane)
    bare = np.maximum(_bare_corners(damage, plane), _bare_edges(damage, plane))[..., None]
    cover = texture[..., 3:]
    texture[..., :3] = texture[..., :3] * (1 - bare) + np.array(PAPER, np.float32) * cover * bare
    texture *= (_rounded(damage, plane) * _chipped(damage, plane))[..., None]
    return replace(card, texture=texture)


class _Plane:
    """x, y: millimetres of each texel's centre from the card's upper left. ragged: smooth noise of deviation 1."""

    def __init__(self, shape: tuple[int, int], scale: float, random: Generator) -> None:
        rows, columns = shape
        self.random = random
        self.scale = scale
        self.x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5 - PAD) / scale
        self.y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5 - PAD) / scale
        rough = random.normal(0, 1, (round(HEIGHT / 0.4), round(WIDTH / 0.4))).astype(np.float32)
        self.ragged: Texture = np.asarray(cv2.resize(rough, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32)

    def step(self, distance: Texture) -> Texture:
        """1 where a distance in millimetres is below 0, 0 above, and between within a texel."""
        return np.asarray(np.clip(0.5 - distance * self.scale, 0, 1), np.float32)

    def corner(self, corner: int) -> tuple[Texture, Texture]:
        """Millimetres inwards from a corner, across and along."""
        return (
            self.x if corner in (0, 3) else WIDTH - self.x,
            self.y if corner in (0, 1) else HEIGHT - self.y,
        )

    def edge(self, edge: int) -> tuple[Texture, Texture, float]:
        """Millimetres along an edge, inwards from it, and its length."""
        if edge % 2 == 0:
            return self.x, self.y if edge == 0 else HEIGHT - self.y, WIDTH
        return self.y, WIDTH - self.x if edge == 1 else self.x, HEIGHT


def _bare_corners(damage: Damage, plane: _Plane) -> Texture:
    bare = np.zeros_like(plane.ragged)
    for corner, radius in enumerate(damage.whitening):
        if radius:
            tip = RADIUS * (1 - np.sqrt(0.5))
            across, along = plane.corner(corner)
            bare = np.maximum(bare, plane.step(np.hypot(across - tip, along - tip) - radius + 0.1 * plane.ragged))
    return bare


def _bare_edges(damage: Damage, plane: _Plane) -> Texture:
    bare = np.zeros_like(plane.ragged)
    for edge, width in enumerate(damage.rubbed):
        if width:
            along, inwards, length = plane.edge(edge)
            rim = plane.step(inwards - width * (1 + 0.3 * plane.ragged)) * plane.step(
                np.abs(along - length / 2) - length / 4
            )
            bare = np.maximum(bare, rim)
    return bare


def _rounded(damage: Damage, plane: _Plane) -> Texture:
    kept = np.ones_like(plane.ragged)
    for corner, more in enumerate(damage.rounding):
        if more:
            radius = RADIUS + more
            across, along = plane.corner(corner)
            beyond = np.hypot(np.maximum(radius - across, 0), np.maximum(radius - along, 0)) - radius
            kept *= plane.step(np.asarray(beyond, np.float32))
    return kept


def _chipped(damage: Damage, plane: _Plane) -> Texture:
    kept = np.ones_like(plane.ragged)
    for edge, count in enumerate(damage.chips):
        along, inwards, length = plane.edge(edge)
        # Each in a stretch of its own, so that none hides another.
        stretch = (length - 16) / max(count, 1)
        for chip in range(int(count)):
            middle = 8 + stretch * (chip + plane.random.uniform(0.3, 0.7))
            half = damage.chip_depth * plane.random.uniform(1, 2)
            off = np.hypot((along - middle) / half, inwards / damage.chip_depth) - 1
            kept *= 1 - plane.step(np.asarray(off * damage.chip_depth, np.float32))
    return kept


def _surface(texture: Texture, damage: Damage, plane: _Plane) -> None:
    change = np.zeros_like(plane.ragged)
    for _ in range(damage.scratches):
        change += _scratch(damage, plane)
    for _ in range(damage.print_lines):
        place, off = plane.random.uniform(0.1, 0.9), _either(plane.random) * damage.scratch_contrast
        distance = np.abs(plane.x - place * WIDTH) if plane.random.random() < 0.5 else np.abs(plane.y - place * HEIGHT)
        change += off * plane.step(np.asarray(distance - damage.scratch_width / 2, np.float32))
    for _ in range(damage.dents):
        change += _dent(damage, plane)
    cover = texture[..., 3:]
    texture[..., :3] = np.clip(texture[..., :3] + change[..., None] * cover, 0, 255 * cover)


def _place(random: Generator) -> tuple[float, float]:
    left, right, top, bottom = _PRINT
    return float(random.uniform(left, right)), float(random.uniform(top, bottom))


def _either(random: Generator) -> float:
    return float(random.choice([-1.0, 1.0]))


def _scratch(damage: Damage, plane: _Plane) -> Texture:
    left, right, top, bottom = _PRINT
    half = damage.scratch_length / 2
    while True:
        (x, y), turn = _place(plane.random), float(plane.random.uniform(0, np.pi))
        reach = half * abs(np.cos(turn)), half * abs(np.sin(turn))
        if left < x - reach[0] and x + reach[0] < right and top < y - reach[1] and y + reach[1] < bottom:
            break
    along = (plane.x - x) * np.cos(turn) + (plane.y - y) * np.sin(turn)
    across = np.abs((plane.y - y) * np.cos(turn) - (plane.x - x) * np.sin(turn))
    line = plane.step(np.asarray(across - damage.scratch_width / 2, np.float32))
    ends = plane.step(np.asarray(np.abs(along) - half, np.float32))
    return np.asarray(_either(plane.random) * damage.scratch_contrast * line * ends, np.float32)


def _dent(damage: Damage, plane: _Plane) -> Texture:
    (x, y), turn = _place(plane.random), float(plane.random.uniform(0, 2 * np.pi))
    across, along = (plane.x - x) / damage.dent_radius, (plane.y - y) / damage.dent_radius
    slope = across * np.cos(turn) + along * np.sin(turn)
    # The slope of a bump that falls to nothing at its radius: its lit and its dark side.
    bump = np.exp(-2 * (across**2 + along**2) + 0.5) * 2
    return np.asarray(damage.dent_contrast * slope * bump, np.float32)
