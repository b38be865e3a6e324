"""Shapes that cover one another: "dead leaves", whose statistics are a photograph's (Lee, Mumford, Huang 2001)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.textures import Rng, smooth

KINDS = ("ellipse", "rectangle", "polygon", "stroke")
LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;-+&%$#@!? ")


def cover(rng: Rng, canvas: np.ndarray, field: np.ndarray, textures: Sequence[np.ndarray], share: float) -> None:
    """Lay leaves on the canvas until they have covered about `share` times its area.

    canvas, field: float32 squares of the same side, 0..255. Radii follow r^-exponent between bounds drawn per call.
    """
    side = canvas.shape[0]
    exponent = rng.uniform(2.2, 3.3)
    low, high = rng.uniform(2.0, 7.0), rng.uniform(0.06, 0.4) * side
    weights = rng.dirichlet(np.ones(len(KINDS)))
    spread = rng.uniform(8, 55)
    covered = 0.0
    for _ in range(2500):
        if covered > share * side * side:
            return
        radius = _radius(rng, low, high, exponent)
        kind = KINDS[rng.choice(len(KINDS), p=weights)]
        covered += _lay(rng, canvas, field, textures, kind, radius, spread)


def strokes(rng: Rng, canvas: np.ndarray, count: int) -> None:
    """Fur, grass or needles: thin curved strokes along a smooth flow, over the whole canvas or a part of it."""
    side = canvas.shape[0]
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    flow = smooth(rng, side, side / rng.uniform(3, 8)) * rng.uniform(0.3, 1.5) + rng.uniform(0, 2 * np.pi)
    shade = smooth(rng, side, side / 5) * rng.uniform(5, 40) + rng.uniform(60, 190)
    spread, width = rng.uniform(6, 40), rng.uniform(1.0, 5.0)
    length, wild = rng.uniform(12, 80), rng.uniform(0.02, 0.5)
    places = rng.integers(0, side, (count, 2))
    for x, y in places:
        angle = float(flow[y, x]) + rng.normal() * wild
        bend = rng.normal() * 0.4
        reach = length * rng.uniform(0.5, 1.5)
        points = [(float(x), float(y))]
        for step in range(1, 4):
            turn = angle + bend * step / 3
            points.append((points[-1][0] + np.cos(turn) * reach / 3, points[-1][1] + np.sin(turn) * reach / 3))
        ink = int(np.clip(shade[y, x] + rng.laplace() * spread, 0, 255))
        draw.line(points, fill=ink, width=max(1, round(width * rng.uniform(0.6, 1.6))))
    canvas[...] = np.asarray(image, np.float32)


def write(rng: Rng, canvas: np.ndarray) -> None:
    """Some lines of letters, of sizes between 12 and 90 pixels of the canvas, dark on light or light on dark."""
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    side = canvas.shape[0]
    for _ in range(rng.integers(1, 9)):
        size = int(np.exp(rng.uniform(np.log(12), np.log(90))))
        font = ImageFont.load_default(size=size)
        letters = "".join(rng.choice(LETTERS, rng.integers(4, 30)))
        x, y = int(rng.integers(-50, side)), int(rng.integers(-10, side))
        ink = int(np.clip(rng.choice([rng.uniform(0, 80), rng.uniform(170, 255)]), 0, 255))
        for row in range(rng.integers(1, 5)):
            draw.text((x, y + row * size * 1.2), letters, fill=ink, font=font)
    canvas[...] = np.asarray(image, np.float32)


def _radius(rng: Rng, low: float, high: float, exponent: float) -> float:
    """By the inverse of the distribution function of r^-exponent."""
    power = 1 - exponent
    return float((low**power + rng.random() * (high**power - low**power)) ** (1 / power))


def _lay(
    rng: Rng,
    canvas: np.ndarray,
    field: np.ndarray,
    textures: Sequence[np.ndarray],
    kind: str,
    radius: float,
    spread: float,
) -> float:
    """One leaf; the pixels that it covers."""
    side = canvas.shape[0]
    x, y = rng.uniform(0, side, 2)
    mask = _mask(rng, kind, radius)
    height, width = mask.shape
    left, top = int(x - width / 2), int(y - height / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, side), min(top + height, side)
    if x0 >= x1 or y0 >= y1:
        return 0.0
    cut = mask[y0 - top : y1 - top, x0 - left : x1 - left]
    colour = field[int(y), int(x)] + rng.laplace() * spread
    surface = np.full(cut.shape, colour, np.float32)
    if radius > 6 and rng.random() < 0.7:
        texture = textures[rng.integers(len(textures))]
        v, u = rng.integers(0, side - cut.shape[0] + 1), rng.integers(0, side - cut.shape[1] + 1)
        surface += texture[v : v + cut.shape[0], u : u + cut.shape[1]] * (rng.exponential() * 12)
    if radius > 10 and rng.random() < 0.4:
        down, right = rng.normal(size=2) * 40
        surface += np.linspace(-down, down, cut.shape[0], dtype=np.float32)[:, None] / 2
        surface += np.linspace(-right, right, cut.shape[1], dtype=np.float32)[None, :] / 2
    part = canvas[y0:y1, x0:x1]
    np.copyto(part, surface, where=cut)
    return float(cut.sum())


def _mask(rng: Rng, kind: str, radius: float) -> np.ndarray:
    """A boolean picture that just holds the shape."""
    flat = rng.uniform(0.25, 1.0)
    turn = rng.uniform(0, 2 * np.pi)
    if kind == "ellipse":
        angles = np.linspace(0, 2 * np.pi, 8 + int(radius), endpoint=False)
        shape = np.stack([np.cos(angles), flat * np.sin(angles)], 1) * radius
    elif kind == "rectangle":
        shape = np.array([(-1, -flat), (1, -flat), (1, flat), (-1, flat)]) * radius
        turn = turn if rng.random() < 0.6 else np.pi / 2 * rng.integers(4)
    elif kind == "polygon":
        corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        shape = np.stack([np.cos(corners), np.sin(corners)], 1) * (radius * rng.uniform(0.4, 1.2, (len(corners), 1)))
    else:
        return _stroke(rng, radius, turn)
    turned = shape @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    return _drawn(turned, None)


def _stroke(rng: Rng, radius: float, turn: float) -> np.ndarray:
    """A bent line, several times as long as it is wide."""
    length = radius * rng.uniform(1.5, 4)
    steps = np.linspace(-length, length, 9)
    bend = rng.normal() * 0.4 / length
    points = np.stack([steps, bend * steps**2], 1)
    turned = points @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    return _drawn(turned, max(1, round(radius * rng.uniform(0.1, 0.5))))


def _drawn(points: np.ndarray, width: int | None) -> np.ndarray:
    """A polygon filled (no width) or a line, in the smallest picture that holds it."""
    margin = 1 + (width or 0)
    low = points.min(0) - margin
    size = np.ceil(points.max(0) + margin - low).astype(int) + 1
    image = Image.new("1", (int(size[0]), int(size[1])))
    corners = [(float(x), float(y)) for x, y in points - low]
    draw = ImageDraw.Draw(image)
    if width is None:
        draw.polygon(corners, fill=1)
    else:
        draw.line(corners, fill=1, width=width, joint="curve")
    return np.asarray(image)
