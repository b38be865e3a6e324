"""The second renderer: Pillow, with art, grounds, camera and light of its own. The finder is never tuned on it."""

from __future__ import annotations

import io
import math
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from bench.cards.damage import UNHARMED, Damage
from bench.cards.drawn_card import SCALE, draw_card
from bench.cards.drawn_wear import wear_down
from bench.cards.truth import HEIGHT, OUTLINE, WIDTH, Points, Rendered, as_it_lies

Matrix = Points
GROUNDS = ("stone", "planks", "knit", "black", "paper")


def render(seed: int, ground: str | None = None, *, card: int | None = None, damage: Damage = UNHARMED) -> Rendered:
    """One scene; `ground` is one of `GROUNDS`, else by the seed.

    card: the seed of the card and of where its damage lies, so that other scenes can show the same one.
    """
    random = Random(seed)
    ground = ground or random.choice(GROUNDS)
    size = random.choice([(1024, 1365), (1200, 1500), (1365, 1024), (1440, 1080)])
    of_card = random if card is None else Random(card)
    shown, borders, name = draw_card(of_card, dark=card is not None or ground == "black")
    if damage != UNHARMED:
        shown = wear_down(shown, damage, Random((seed if card is None else card) + 1))
    matrix = _view(random, size)
    canvas = _ground(random, ground, (size[0] * 2, size[1] * 2))
    large = np.diag([2.0, 2.0, 1.0]) @ matrix
    _lay(random, canvas, shown, large)
    cover = _cover(random, canvas, large)
    canvas = canvas.resize(size, Image.Resampling.BOX)
    points, lying, turned = as_it_lies(_through(matrix, OUTLINE), borders)
    return Rendered(np.asarray(_photograph(random, canvas)), points, lying, f"{name} on {ground}{cover}", turned)


def _view(random: Random, size: tuple[int, int]) -> Matrix:
    """Millimetres of the card -> pixels: a plane tilted about an axis, seen from a hand's breadth or two above."""
    turn, axis = random.uniform(0, math.tau), random.uniform(0, math.tau)
    tilt, above = math.radians(random.uniform(0, 20)), random.uniform(220, 500)
    along = np.array([[math.cos(axis), math.sin(axis)], [-math.sin(axis), math.cos(axis)]])
    spin = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    plane = along @ spin
    top = along.T @ np.diag([math.cos(tilt), 1.0]) @ plane
    matrix = np.eye(3)
    matrix[:2, :2] = top
    matrix[2, :2] = plane[0] * math.sin(tilt) / above
    matrix = matrix @ np.array([[1, 0, -WIDTH / 2], [0, 1, -HEIGHT / 2], [0, 0, 1]])
    points = _through(matrix, OUTLINE)
    spread = points.max(axis=0) - points.min(axis=0)
    scale = random.uniform(0.55, 0.95) * min(size[0] / spread[0], size[1] / spread[1])
    room = np.array(size) - spread * scale
    place = np.array([random.uniform(0.02, 0.98), random.uniform(0.02, 0.98)]) * room - points.min(axis=0) * scale
    return np.asarray(np.array([[scale, 0, place[0]], [0, scale, place[1]], [0, 0, 1]]) @ matrix, float)


def _through(matrix: Matrix, points: Points) -> Points:
    x, y, w = matrix @ np.vstack([points.T, np.ones(len(points))])
    return np.column_stack([x / w, y / w])


def _ground(random: Random, name: str, size: tuple[int, int]) -> Image.Image:
    if name == "black":
        return _tinted(_speckle(random, size, 3, 6), [random.uniform(0.06, 0.16)] * 3)
    if name == "paper":
        return _tinted(_speckle(random, size, 8, 5), [1.7, 1.68, 1.62])
    if name == "stone":
        rough = Image.blend(_speckle(random, size, 4, 40), _speckle(random, size, 40, 60), 0.5)
        return _tinted(rough, [random.uniform(0.5, 1.4) for _ in range(3)])
    if name == "knit":
        return _knit(random, size)
    return _planks(random, size)


def _speckle(random: Random, size: tuple[int, int], grain: int, strength: float) -> Image.Image:
    """Noise around 128 with patches of `grain` pixels."""
    return _noise(random, (size[0] // grain + 1, size[1] // grain + 1), strength).resize(size, Image.Resampling.BICUBIC)


def _noise(random: Random, size: tuple[int, int], strength: float) -> Image.Image:
    """`Image.effect_noise`, which no seed makes repeatable."""
    levels = np.random.default_rng(random.getrandbits(64)).normal(128, strength, size[::-1])
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _tinted(grey: Image.Image, shares: list[float]) -> Image.Image:
    return Image.merge("RGB", [grey.point(lambda level, share=share: min(255, level * share)) for share in shares])


def _planks(random: Random, size: tuple[int, int]) -> Image.Image:
    reach = int(math.hypot(*size))
    fibre = _noise(random, (reach // 60, reach // 3), 50).resize((reach, reach), Image.Resampling.BICUBIC)
    board = _tinted(fibre, random.choice([[1.3, 0.95, 0.6], [0.7, 0.5, 0.35], [1.0, 0.8, 0.6]]))
    pen = ImageDraw.Draw(board)
    step = random.randint(300, 700)
    for joint in range(random.randint(0, step), reach, step):
        pen.line([(0, joint), (reach, joint)], fill=(30, 22, 16), width=6)
    turned = board.rotate(random.uniform(0, 180), Image.Resampling.BICUBIC)
    left, top = (reach - size[0]) // 2, (reach - size[1]) // 2
    inner = turned.crop((left, top, left + size[0], top + size[1]))
    return ImageChops.lighter(inner, Image.new("RGB", size, (24, 18, 14)))


def _knit(random: Random, size: tuple[int, int]) -> Image.Image:
    colour = tuple(random.randint(40, 200) for _ in range(3))
    cloth = Image.new("RGB", size, colour)
    pen = ImageDraw.Draw(cloth)
    shade, light = tuple(int(level * 0.82) for level in colour), tuple(int(level * 1.12) for level in colour)
    step = random.randint(10, 22)
    for row in range(0, size[1] + size[0], step):
        pen.line([(0, row), (size[0], row - size[0] // 3)], fill=shade, width=step // 3)
    for column in range(0, size[0] + size[1], step):
        pen.line([(column, 0), (column - size[1] // 2, size[1])], fill=light, width=step // 4)
    return cloth.filter(ImageFilter.GaussianBlur(2))


def _lay(random: Random, canvas: Image.Image, card: Image.Image, matrix: Matrix) -> None:
    back = np.linalg.inv(matrix)
    to_texels = np.diag([SCALE, SCALE, 1.0]) @ back
    coefficients = (to_texels / to_texels[2, 2]).ravel()[:8]
    seen = card.transform(canvas.size, Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BICUBIC)
    mask = seen.getchannel("A")
    distance = random.randint(2, 24)
    shadow = ImageChops.offset(mask, random.choice([-1, 1]) * distance, distance)
    strength = random.uniform(0.05, 0.4)
    shadow = shadow.filter(ImageFilter.GaussianBlur(distance)).point(lambda level: int(level * strength))
    canvas.paste((0, 0, 0), mask=shadow)
    canvas.paste(seen.convert("RGB"), mask=mask)


def _cover(random: Random, canvas: Image.Image, matrix: Matrix) -> str:
    """One card in six lies in a sleeve, one in twelve in a rigid holder."""
    kind = random.random()
    if kind > 1 / 4:
        return ""
    sleeve = kind < 1 / 6
    spare = random.uniform(1.5, 2.5) if sleeve else random.uniform(6, 9)
    box = OUTLINE + np.array([[-spare, -spare], [spare, -spare], [spare, spare * 1.5], [-spare, spare * 1.5]])
    corners = [(float(x), float(y)) for x, y in _through(matrix, box)]
    film = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(film).polygon(corners, fill=random.randint(4, 16))
    canvas.paste((255, 255, 255), mask=film)
    rim = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(rim).line([*corners, corners[0]], fill=random.randint(40, 130), width=4 if sleeve else 9)
    canvas.paste((255, 255, 255), mask=rim.filter(ImageFilter.GaussianBlur(1)))
    return ", in a sleeve" if sleeve else ", in a holder"


def _photograph(random: Random, canvas: Image.Image) -> Image.Image:
    """Uneven light, at times a lamp's reflection, blur, noise, JPEG."""
    size = canvas.size
    slope = Image.linear_gradient("L").rotate(random.uniform(0, 360)).crop((52, 52, 204, 204)).resize(size)
    dim = slope.point(lambda level: int(level * 0.3))
    canvas.paste((0, 0, 0), mask=dim)
    if random.random() < 0.25:
        lamp = ImageChops.invert(Image.radial_gradient("L")).resize((size[0] // 4, size[0] // 5))
        spot = Image.new("L", size, 0)
        spot.paste(
            lamp.point(lambda level: max(0, level - 90)), (random.randint(0, size[0]), random.randint(0, size[1]))
        )
        canvas.paste((255, 255, 250), mask=spot.filter(ImageFilter.GaussianBlur(12)))
    blurred = canvas.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.3)))
    noise = _noise(random, size, random.uniform(1, 10))
    noisy = ImageChops.add(blurred, Image.merge("RGB", [noise] * 3), 1, -128)
    file = io.BytesIO()
    noisy.save(file, "JPEG", quality=random.randint(65, 95))
    return Image.open(file).convert("RGB")
