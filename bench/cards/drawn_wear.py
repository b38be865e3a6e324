"""The second renderer's damage: Pillow's pen, brush and blur on the drawn card."""

from __future__ import annotations

import math
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from bench.cards.damage import Damage
from bench.cards.drawn_card import SCALE
from bench.cards.truth import HEIGHT, RADIUS, WIDTH

PAPER = (238, 238, 240)
_FINER = 4
"""Masks are drawn so many times larger and reduced, as Pillow's pen knows no half tones."""
_STEPS = 24


def wear_down(card: Image.Image, damage: Damage, random: Random) -> Image.Image:
    """card: RGBA at `SCALE` texels a millimetre; where damage lies is random but for corners and edges."""
    alpha = card.getchannel("A")
    surface = _harm_surface(card.convert("RGB"), damage, random)
    for corner, radius in enumerate(damage.whitening):
        if radius:
            surface.paste(PAPER, mask=_mask(surface, [_frayed(random, corner, radius)]))
    for edge, width in enumerate(damage.rubbed):
        if width:
            surface.paste(PAPER, mask=_mask(surface, [_strip(random, edge, width)]))
    for corner, more in enumerate(damage.rounding):
        if more:
            alpha = ImageChops.subtract(alpha, _mask(surface, [_lost_tip(corner, RADIUS + more)]))
    for edge, count in enumerate(damage.chips):
        bites = [_bite(random, edge, damage.chip_depth, place, int(count)) for place in range(int(count))]
        alpha = ImageChops.subtract(alpha, _mask(surface, bites))
    surface.putalpha(alpha)
    return surface


Outline = list[tuple[float, float]]


def _mask(picture: Image.Image, outlines: list[Outline]) -> Image.Image:
    """L: what polygons in millimetres cover."""
    mask = Image.new("L", picture.size, 0)
    for outline in outlines:
        xs, ys = [x * SCALE for x, _ in outline], [y * SCALE for _, y in outline]
        left, top = math.floor(min(xs)) - 2, math.floor(min(ys)) - 2
        size = math.ceil(max(xs)) + 2 - left, math.ceil(max(ys)) + 2 - top
        large = Image.new("L", (size[0] * _FINER, size[1] * _FINER), 0)
        shape = [((x - left) * _FINER, (y - top) * _FINER) for x, y in zip(xs, ys, strict=True)]
        ImageDraw.Draw(large).polygon(shape, fill=255)
        patch = large.reduce(_FINER)
        mask.paste(ImageChops.lighter(patch, mask.crop((left, top, left + size[0], top + size[1]))), (left, top))
    return mask


def _at_corner(corner: int, across: float, along: float) -> tuple[float, float]:
    return (across if corner in (0, 3) else WIDTH - across), (along if corner in (0, 1) else HEIGHT - along)


def _on_edge(edge: int, along: float, inwards: float) -> tuple[float, float]:
    return [(along, inwards), (WIDTH - inwards, along), (along, HEIGHT - inwards), (inwards, along)][edge]


def _frayed(random: Random, corner: int, radius: float) -> Outline:
    """A disc around the corner's tip with an uneven rim."""
    tip = RADIUS - RADIUS / math.sqrt(2)
    outline = []
    for step in range(_STEPS):
        angle, reach = math.tau * step / _STEPS, radius * random.uniform(0.85, 1.15)
        outline.append(_at_corner(corner, tip + reach * math.cos(angle), tip + reach * math.sin(angle)))
    return outline


def _strip(random: Random, edge: int, width: float) -> Outline:
    length = HEIGHT if edge % 2 else WIDTH
    inner = [_on_edge(edge, length * (0.25 + 0.5 * step / 60), width * random.uniform(0.6, 1.4)) for step in range(61)]
    return [_on_edge(edge, length * 0.25, -1), *inner, _on_edge(edge, length * 0.75, -1)]


def _lost_tip(corner: int, radius: float) -> Outline:
    """All that lies outside a rounder corner's arc."""
    arc = []
    for step in range(_STEPS + 1):
        angle = math.pi / 2 * step / _STEPS
        arc.append(_at_corner(corner, radius * (1 - math.cos(angle)), radius * (1 - math.sin(angle))))
    return [_at_corner(corner, -1, radius), *arc, _at_corner(corner, radius, -1), _at_corner(corner, -1, -1)]


def _bite(random: Random, edge: int, depth: float, place: int, count: int) -> Outline:
    """A jagged piece that an edge lacks, in a stretch of its own."""
    length = HEIGHT if edge % 2 else WIDTH
    middle = 8 + (length - 16) / count * (place + random.uniform(0.3, 0.7))
    half = depth * random.uniform(1, 2)
    outline = [_on_edge(edge, middle - half, -1), _on_edge(edge, middle - half, 0)]
    for step in range(1, 12):
        angle = math.pi * step / 12
        reach = depth * math.sin(angle) * random.uniform(0.9, 1.1)
        outline.append(_on_edge(edge, middle - half * math.cos(angle), reach))
    return [*outline, _on_edge(edge, middle + half, 0), _on_edge(edge, middle + half, -1)]


def _harm_surface(surface: Image.Image, damage: Damage, random: Random) -> Image.Image:
    for _ in range(damage.scratches):
        surface = _shifted(surface, _mask(surface, [_scratch(random, damage)]), _sign(random, damage.scratch_contrast))
    for _ in range(damage.print_lines):
        upright = random.random() < 0.5
        place = random.uniform(0.1, 0.9) * (WIDTH if upright else HEIGHT)
        ends = [(place, 0.0), (place, HEIGHT)] if upright else [(0.0, place), (WIDTH, place)]
        line = _thick(ends, damage.scratch_width)
        surface = _shifted(surface, _mask(surface, [line]), _sign(random, damage.scratch_contrast))
    for _ in range(damage.dents):
        surface = _dented(surface, damage, random)
    return surface


def _sign(random: Random, level: float) -> int:
    return round(random.choice([-1, 1]) * level)


def _shifted(surface: Image.Image, mask: Image.Image, levels: int) -> Image.Image:
    """Lighter or darker by so many levels where the mask is full."""
    change = mask.point([round(abs(levels) * level / 255) for level in range(256)])
    coloured = Image.merge("RGB", [change] * 3)
    return ImageChops.add(surface, coloured) if levels > 0 else ImageChops.subtract(surface, coloured)


def _thick(course: Outline, width: float) -> Outline:
    """A polygon along a course of points."""
    left, right = [], []
    for place, (x, y) in enumerate(course):
        before, after = course[max(place - 1, 0)], course[min(place + 1, len(course) - 1)]
        along = math.atan2(after[1] - before[1], after[0] - before[0])
        across = -math.sin(along) * width / 2, math.cos(along) * width / 2
        left.append((x + across[0], y + across[1]))
        right.append((x - across[0], y - across[1]))
    return left + right[::-1]


def _scratch(random: Random, damage: Damage) -> Outline:
    """Nearly straight, inside the card."""
    half = damage.scratch_length / 2
    while True:
        x, y, turn = random.uniform(4, WIDTH - 4), random.uniform(4, HEIGHT - 4), random.uniform(0, math.pi)
        reach = half * abs(math.cos(turn)), half * abs(math.sin(turn))
        if abs(x - WIDTH / 2) + reach[0] < WIDTH / 2 - 4 and abs(y - HEIGHT / 2) + reach[1] < HEIGHT / 2 - 4:
            break
    bend = random.uniform(-0.01, 0.01) * damage.scratch_length
    course = []
    for step in range(-8, 9):
        along, aside = half * step / 8, bend * (1 - (step / 8) ** 2)
        course.append(
            (
                x + along * math.cos(turn) - aside * math.sin(turn),
                y + along * math.sin(turn) + aside * math.cos(turn),
            )
        )
    return _thick(course, damage.scratch_width)


def _dented(surface: Image.Image, damage: Damage, random: Random) -> Image.Image:
    """A lit and a dark spot side by side, soft at their rims."""
    x, y, turn = random.uniform(5, WIDTH - 5), random.uniform(5, HEIGHT - 5), random.uniform(0, math.tau)
    for side in (-1, 1):
        middle = (
            x + side * damage.dent_radius / 2 * math.cos(turn),
            y + side * damage.dent_radius / 2 * math.sin(turn),
        )
        reach = damage.dent_radius * 0.45
        box = [(value + end * reach) * SCALE for end in (-1, 1) for value in middle]
        spot = Image.new("L", surface.size, 0)
        ImageDraw.Draw(spot).ellipse(box, fill=255)
        soft = spot.filter(ImageFilter.GaussianBlur(damage.dent_radius * 0.22 * SCALE))
        even = ImageOps.autocontrast(soft)
        surface = _shifted(surface, even, side * round(damage.dent_contrast))
    return surface
