"""The first renderer: numpy and OpenCV, for tuning and for short tests."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bench.cards import art, camera
from bench.cards.damage import UNHARMED, Damage
from bench.cards.grounds import GROUNDS
from bench.cards.truth import HEIGHT, OUTLINE, WIDTH, Pixels, Points, Rendered, as_it_lies
from bench.cards.wear import worn

SUPERSAMPLE = 2
SCALE = 24.0
"""Texels a millimetre of a card that is shown in several scenes: about the largest that one of them needs."""
LEAST_CONTRAST = 14.0
"""Levels, in one channel at least, between a border and the ground."""
Canvas = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Where a card is seen. matrix: its millimetres -> supersampled pixels, centres at whole numbers."""

    matrix: Points
    size: tuple[int, int]

    def mask(self, outline: Points) -> Canvas:
        """height x width, 0..1: what of the picture a polygon on the card's plane covers."""
        corners = np.round(camera.project(self.matrix, outline) * 16).astype(np.int32)
        canvas = np.zeros(self.size[::-1], np.float32)
        cv2.fillPoly(canvas, [corners], (1.0,), cv2.LINE_AA, shift=4)
        return canvas


def render(
    seed: int,
    ground: str | None = None,
    size: tuple[int, int] | None = None,
    *,
    card: int | None = None,
    damage: Damage = UNHARMED,
) -> Rendered:
    """One scene; `ground` one of `GROUNDS`, `size` width and height in pixels, both else by the seed.

    card: the seed of the card and of where its damage lies, so that other scenes can show the same one.
    """
    random = np.random.default_rng(seed)
    ground = ground or str(random.choice(list(GROUNDS)))
    if size is None:
        long, short = int(random.integers(1200, 1700)), int(random.integers(900, 1200))
        size = (short, long) if random.random() < 0.6 else (long, short)
    touching = random.random() < 0.08
    fill = float(random.uniform(0.5, 0.93))
    matrix = camera.view(random, size, fill, tilt=22.0, touching=touching)
    millimetre = np.linalg.norm(np.diff(camera.project(matrix, OUTLINE)[:2], axis=0)) / WIDTH
    if card is None:
        shown = art.card(random, scale=float(millimetre) * SUPERSAMPLE)
    else:
        shown = art.card(np.random.default_rng(card), SCALE)
    if damage != UNHARMED:
        shown = worn(shown, damage, np.random.default_rng([seed if card is None else card, 1]))
    pixels, cover = _compose(random, ground, size, matrix, shown)
    points, borders, turned = as_it_lies(camera.project(matrix, OUTLINE), shown.borders)
    scene = f"{shown.border} on {ground}{cover}{', touching' if touching else ''}"
    return Rendered(_photograph(random, pixels), points, borders, scene, turned)


def _compose(
    random: Generator, ground: str, size: tuple[int, int], matrix: Points, card: art.Card
) -> tuple[Canvas, str]:
    large = size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE
    canvas = np.asarray(cv2.resize(GROUNDS[ground](random, size), large, interpolation=cv2.INTER_LINEAR), np.float32)
    _set_off(canvas, card)
    shift = np.array([[SUPERSAMPLE, 0, -0.5], [0, SUPERSAMPLE, -0.5], [0, 0, 1]])
    place = Place(shift @ matrix, large)
    origin = (0.5 - art.PAD) / card.scale
    texels = np.array([[1 / card.scale, 0, origin], [0, 1 / card.scale, origin], [0, 0, 1]])
    warped = cv2.warpPerspective(card.texture, place.matrix @ texels, large, flags=cv2.INTER_LINEAR)
    seen = np.asarray(warped, np.float32)
    cover = seen[..., 3:]
    canvas *= np.asarray(1 - _drop_shadow(random, seen[..., 3])[..., None] * (1 - cover), np.float32)
    canvas = canvas * (1 - cover) + seen[..., :3]
    name = _protect(random, canvas, place)
    _light(random, canvas, place)
    return np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.float32), name


def _set_off(canvas: Canvas, card: art.Card) -> None:
    """A border of nearly the ground's own colour is told from it by nobody: the ground becomes a little lighter."""
    if card.borders is None:
        return
    difference = np.abs(canvas.mean(axis=(0, 1)) - art.BORDERS[card.border]).max()
    if difference < LEAST_CONTRAST:
        canvas += LEAST_CONTRAST + difference if canvas.mean() < 128 else -LEAST_CONTRAST - difference


def _drop_shadow(random: Generator, cover: Canvas) -> Canvas:
    """Beside the card, on the side away from the light."""
    height, width = cover.shape
    reach = 0.012 * max(width, height) * float(random.uniform(0.2, 1))
    away = float(random.uniform(0, 2 * np.pi))
    move = np.array([[1, 0, reach * np.cos(away)], [0, 1, reach * np.sin(away)]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(cover, move, (width, height)), (0, 0), reach * 0.7 + 1)
    return np.asarray(shadow, np.float32) * np.float32(random.uniform(0.1, 0.5))


def _protect(random: Generator, canvas: Canvas, place: Place) -> str:
    """A sleeve around one card in six and a slab around one in twelve: clear, with a bright rim."""
    kind = random.random()
    if kind > 1 / 4:
        return ""
    sleeve = kind < 1 / 6
    spare = random.uniform(1.2, 2.5, 4) if sleeve else random.uniform(8, 13, 4)
    left, top, right, bottom = spare * (1, 1.3, 1, 1.3)
    outline = np.array(
        [[-left, -top], [WIDTH + right, -top], [WIDTH + right, HEIGHT + bottom], [-left, HEIGHT + bottom]]
    )
    haze = place.mask(outline)[..., None] * float(random.uniform(0.02, 0.08))
    canvas[:] = canvas * (1 - haze) + 235 * haze
    corners = np.round(camera.project(place.matrix, outline) * 16).astype(np.int32)
    rim = np.zeros(canvas.shape[:2], np.float32)
    cv2.polylines(rim, [corners], True, (1.0,), SUPERSAMPLE * (2 if sleeve else 4), cv2.LINE_AA, shift=4)
    rim = rim[..., None] * float(random.uniform(0.15, 0.5))
    canvas[:] = canvas * (1 - rim) + 245 * rim
    return ", in a sleeve" if sleeve else ", in a slab"


def _light(random: Generator, canvas: Canvas, place: Place) -> None:
    """Falling off across the picture, at times a shadow's soft edge over it, at times a glare on the card."""
    height, width = canvas.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    along = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle = float(random.uniform(0, 2 * np.pi))
    slope = across * np.float32(np.cos(angle)) + along * np.float32(np.sin(angle))
    canvas *= (1 + slope * np.float32(random.uniform(0, 0.15)))[..., None]
    if random.random() < 0.3:
        offset, soft = random.uniform(-0.6, 0.6), random.uniform(0.02, 0.2)
        shade = 1 / (1 + np.exp(np.clip((slope - offset) / soft, -30, 30)))
        canvas *= (1 - shade * np.float32(random.uniform(0.15, 0.45)))[..., None]
    if random.random() < 0.3:
        middle = camera.project(place.matrix, random.uniform(0.1, 0.9, (1, 2)) * (WIDTH, HEIGHT))[0]
        reach = max(width, height) * float(random.uniform(0.03, 0.12))
        x, y = (across + 1) * width / 2 - middle[0], (along + 1) * height / 2 - middle[1]
        canvas += (float(random.uniform(30, 160)) * np.exp(-(x**2 + y**2) / (2 * reach**2)))[..., None]


def _photograph(random: Generator, canvas: Canvas) -> Pixels:
    """Lens blur, noise of the sensor, and JPEG."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), float(random.uniform(0.3, 1.4)))
    noise = random.normal(0, float(random.uniform(0.3, 5)), blurred.shape)
    pixels = np.clip(blurred + noise, 0, 255).round().astype(np.uint8)[..., ::-1]
    _, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(60, 96))])
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])
