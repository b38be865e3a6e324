"""The first renderer's card: its print with borders exact to a fraction of a texel, and its rounded outline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bench.cards.truth import HEIGHT, RADIUS, WIDTH, Borders

BORDERS = {
    "white": (240, 240, 236),
    "yellow": (242, 205, 60),
    "black": (24, 22, 24),
    "silver": (176, 180, 186),
    "blue": (30, 60, 140),
    "red": (160, 30, 36),
    "green": (40, 110, 70),
}
"""Colour of printed borders."""
PAD = 2
"""Texels of nothing around the card, so that its outline lies inside the texture."""
Texture = NDArray[np.float32]


@dataclass(frozen=True)
class Card:
    """texture: rows x columns x 4, RGB 0..255 multiplied by the coverage behind it, 0..1. border: its colour's name.

    scale: texels a millimetre; the card's outer corner lies `PAD` texels inside.
    """

    texture: Texture
    scale: float
    borders: Borders | None
    border: str


def card(random: Generator, scale: float) -> Card:
    """One card in seven has no border."""
    size = math.ceil(WIDTH * scale) + 2 * PAD, math.ceil(HEIGHT * scale) + 2 * PAD
    printed = _picture(random, size)
    if random.random() < 1 / 7:
        return Card(_cut(printed, scale), scale, None, "borderless")
    left, top = random.uniform(1.8, 4.2, 2)
    right, bottom = np.clip(np.array([left, top]) + random.normal(0, 0.8, 2), 1.2, 5.5)
    borders = (float(left), float(top), float(right), float(bottom))
    name = str(random.choice(list(BORDERS)))
    inside = _inside(size, scale, borders, radius=float(random.choice([0, 0, 1.0])))[..., None]
    colour = np.array(BORDERS[name], np.float32) + random.normal(0, 4, 3).astype(np.float32)
    return Card(_cut(printed * inside + colour * (1 - inside), scale), scale, borders, name)


def _picture(random: Generator, size: tuple[int, int]) -> Texture:
    """A gradient, shapes, a title, a window with a picture of its own, and lines of text."""
    width, height = size
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    along = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    ends = random.uniform(20, 235, (3, 3)).astype(np.float32)
    canvas = np.ascontiguousarray(ends[0] * (1 - along) + ends[1] * along * (1 - across) + ends[2] * along * across)
    for _ in range(int(random.integers(4, 25))):
        _shape(random, canvas)
    if random.random() < 0.7:
        _layout(random, canvas)
    grain = random.normal(0, 6, (height // 4, width // 4, 3)).astype(np.float32)
    return np.clip(canvas + cv2.resize(grain, size, interpolation=cv2.INTER_LINEAR), 0, 255)


def _colour(random: Generator) -> tuple[float, float, float]:
    red, green, blue = random.uniform(10, 245, 3)
    return float(red), float(green), float(blue)


def _shape(random: Generator, canvas: Texture) -> None:
    height, width = canvas.shape[:2]
    at = int(random.integers(width)), int(random.integers(height))
    reach = width * float(random.uniform(0.03, 0.35))
    if random.random() < 0.5:
        axes = int(reach), int(reach * random.uniform(0.3, 1))
        cv2.ellipse(canvas, at, axes, float(random.uniform(0, 180)), 0, 360, _colour(random), -1, cv2.LINE_AA)
        return
    corners = np.array(at) + random.uniform(-reach, reach, (int(random.integers(3, 7)), 2))
    cv2.fillPoly(canvas, [corners.astype(np.int32)], _colour(random), cv2.LINE_AA)


def _layout(random: Generator, canvas: Texture) -> None:
    height, width = canvas.shape[:2]
    left, right = int(width * 0.1), int(width * 0.9)
    split = int(height * random.uniform(0.5, 0.62))
    cv2.rectangle(canvas, (left, int(height * 0.06)), (right, int(height * 0.12)), _colour(random), -1)
    window = canvas[int(height * 0.14) : split, left:right]
    window[:] = np.array(_colour(random), np.float32)
    inner = np.ascontiguousarray(window)
    for _ in range(8):
        _shape(random, inner)
    window[:] = inner
    cv2.rectangle(canvas, (left, split + int(height * 0.02)), (right, int(height * 0.93)), _colour(random), -1)
    ink = _colour(random)
    for row in range(split + int(height * 0.06), int(height * 0.91), int(height * 0.035)):
        end = int(left + (right - left) * random.uniform(0.4, 0.95))
        cv2.line(canvas, (left + 8, row), (end, row), ink, max(1, height // 180), cv2.LINE_AA)


def _inside(size: tuple[int, int], scale: float, borders: Borders, radius: float) -> Texture:
    """Coverage of the inner frame, 0..1."""
    left, top, right, bottom = borders
    return _rounded(size, scale, (left, top, WIDTH - right, HEIGHT - bottom), radius)


def _cut(printed: Texture, scale: float) -> Texture:
    height, width = printed.shape[:2]
    outline = _rounded((width, height), scale, (0, 0, WIDTH, HEIGHT), RADIUS)
    return np.dstack([printed * outline[..., None], outline]).astype(np.float32)


def _rounded(size: tuple[int, int], scale: float, box: tuple[float, float, float, float], radius: float) -> Texture:
    """Coverage of a rounded box in millimetres, by its signed distance at each texel's centre."""
    across = (np.arange(size[0], dtype=np.float32) + 0.5 - PAD)[None, :] / scale
    along = (np.arange(size[1], dtype=np.float32) + 0.5 - PAD)[:, None] / scale
    left, top, right, bottom = box
    beyond_x = np.abs(across - (left + right) / 2) - ((right - left) / 2 - radius)
    beyond_y = np.abs(along - (top + bottom) / 2) - ((bottom - top) / 2 - radius)
    outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
    distance = outside + np.minimum(np.maximum(beyond_x, beyond_y), 0) - radius
    return np.asarray(np.clip(0.5 - distance * scale, 0, 1), np.float32)
