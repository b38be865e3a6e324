"""The second renderer's card: drawn by Pillow at a whole number of texels, so that its borders are exact."""

from __future__ import annotations

from random import Random

from PIL import Image, ImageDraw

from bench.cards.truth import HEIGHT, RADIUS, WIDTH, Borders

SCALE = 24
"""Texels a millimetre of the finished card; it is drawn at twice that."""
_FINE = 2 * SCALE
COLOURS = {
    "cream": (245, 238, 215),
    "gold": (205, 165, 70),
    "jet": (26, 26, 30),
    "teal": (20, 110, 120),
    "pink": (225, 120, 160),
}


def draw_card(random: Random, dark: bool) -> tuple[Image.Image, Borders | None, str]:
    """RGBA, its borders in millimetres or None, its name. On a dark ground no border is jet."""
    size = round(WIDTH * _FINE), round(HEIGHT * _FINE)
    player = _player(random, size)
    name, borders = "full art", None
    if random.random() > 0.15:
        name = random.choice([name for name in COLOURS if not (dark and name == "jet")])
        player, borders = _bordered(random, player, COLOURS[name])
    outline = Image.new("L", size, 0)
    ImageDraw.Draw(outline).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), round(RADIUS * _FINE), fill=255)
    player.putalpha(outline)
    return player.reduce(2), borders, name


def _bordered(random: Random, player: Image.Image, colour: tuple[int, int, int]) -> tuple[Image.Image, Borders]:
    width, height = player.size
    left, top, right, bottom = (random.randint(round(1.5 * _FINE), round(4.5 * _FINE)) for _ in range(4))
    whole = Image.new("RGB", player.size, colour)
    whole.paste(player.crop((left, top, width - right, height - bottom)), (left, top))
    return whole, (left / _FINE, top / _FINE, right / _FINE, bottom / _FINE)


def _player(random: Random, size: tuple[int, int]) -> Image.Image:
    """A sports card: sky and field, stripes, a figure, a name bar."""
    width, height = size
    picture = Image.new("RGB", size, _any(random))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, int(height * random.uniform(0.4, 0.8)), width, height), fill=_any(random))
    step = random.randint(width // 12, width // 4)
    for start in range(-height, width, step):
        pen.line([(start, height), (start + height // 2, 0)], fill=_any(random), width=step // random.randint(3, 8))
    middle, belt = width * random.uniform(0.4, 0.6), height * random.uniform(0.45, 0.6)
    reach = width * random.uniform(0.12, 0.22)
    pen.ellipse((middle - reach, belt - 3 * reach, middle + reach, belt - reach), fill=_any(random))
    pen.polygon([(middle, belt - reach), (middle - 2 * reach, height), (middle + 2 * reach, height)], fill=_any(random))
    for _ in range(random.randint(3, 14)):
        x, y, r = random.randint(0, width), random.randint(0, height), random.randint(width // 60, width // 14)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_any(random))
    bar = int(height * random.uniform(0.8, 0.88))
    pen.rectangle((int(width * 0.12), bar, int(width * 0.88), bar + height // 14), fill=_any(random))
    for letter in range(9):
        x = int(width * (0.17 + 0.075 * letter))
        pen.rectangle((x, bar + height // 56, x + width // 26, bar + height // 18), fill=_any(random))
    return picture


def _any(random: Random) -> tuple[int, int, int]:
    return random.randint(15, 240), random.randint(15, 240), random.randint(15, 240)
