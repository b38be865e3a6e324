"""Wear along a card's rim: where its outline falls short of the ideal one, and where bare paper shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from handlers.card_grader.rim import ALONG, INWARDS, Rim
from handlers.vision.profile import Floats, Strip

_GROUND = (-1.5, -0.6)
"""Millimetres inwards: where the ground beside the card is looked at."""
_PRINT = (0.8, 1.2)
"""The same: where the print's colour is looked at. Hardly any printed border is narrower."""
_TELLS = 30.0
"""Levels between card and ground, from which on their border can be placed."""
_ELSEWHERE = 0.7
"""How much less a colour counts as card that is far from the ground but not on the way to the print's."""
_LOOKED = 2.5
"""Millimetres inwards that the outline is looked for."""
_DARK = 10.0
"""Levels added to all channels before shares are taken, as those of black are only noise."""
_ONE_COLOUR = 0.06
"""Shares of red, green and blue by which a printed border's colour may differ."""
_PAPER = np.array([240.0, 240.0, 238.0], np.float32)
_WHITE, _WHITE_ON_ART = 0.3, 0.45
"""Share of the way from the print's colour to bare paper's, from which on paper shows; without a printed border."""
_SHARP = 0.2
"""Change of that share within `_ACROSS` millimetres along the rim, with which paper or ground begin; glare fades in."""
_ACROSS = 1.5
_TELLS_ON_ART = 70.0
"""`_TELLS` without a printed border, where a part of the art may have the ground's colour."""
_FAINT = 60.0
"""Levels from the print's colour to paper's, below which bare paper cannot be told from it."""
_BLUR = 0.6
"""Pixels of the photograph inside the outline, where ground and card still mix."""
_THIN = 0.12
"""Millimetres: less of a white rim is the edge's own blur."""
_DEEPEST_ON_ART = 1.0
"""Millimetres: what is white deeper than that, on a card without a printed border, is taken for print."""
_DEEPEST_AT_CORNER = 2.6
"""The same at a corner, on both sides of which the white ends."""


@dataclass(frozen=True)
class Colours:
    """Beside n places along the rim. ground: outside. print: of the card. paper: bare, in the same light.

    bordered: whether the print has one colour all around.
    """

    ground: Strip
    print: Strip
    paper: Strip
    bordered: bool


@dataclass(frozen=True)
class Worn:
    """n places along the rim. edge: millimetres by which the card's outline lies inside the ideal one, negative
    outside, NaN where it cannot be told from the ground. white: millimetres of bare paper inside it.
    """

    edge: Floats
    white: Floats
    bordered: bool


def measure(rim: Rim) -> Worn:
    """How far the outline is worn off and whitened at each place of the rim."""
    colours = _colours(rim)
    edge = _outline(rim, colours)
    return Worn(edge, _whitened(rim, colours, np.maximum(np.nan_to_num(edge), 0)), colours.bordered)


def _colours(rim: Rim) -> Colours:
    ground = _around(_band(rim, *_GROUND), 1.5, 50)
    near = _around(_band(rim, *_PRINT), 1.0, 50)
    # Below the middle, as wear is brighter than print: even where most of a side is bare, this is print.
    usual = _around(near, 45.0, 40)
    gone = _is_other(near, usual, np.broadcast_to(_PAPER, usual.shape), _WHITE) | _is_other(near, usual, ground, 0.5)
    shares = (near + _DARK) / (near + _DARK).sum(axis=1, keepdims=True)
    typical = np.median(shares[~gone], axis=0) if (~gone).any() else np.full(3, 1 / 3)
    bordered = bool(((np.linalg.norm(shares - typical, axis=1) < _ONE_COLOUR) | gone).mean() > 0.9)
    if not bordered:
        bare = _at_one_corner(rim, np.linalg.norm(_PAPER - near, axis=1) < _FAINT)
        return Colours(ground, _bridged(near, bare), np.broadcast_to(_PAPER, near.shape), False)
    print_ = usual if gone.all() else _bridged(near, gone)
    level = print_.sum(axis=1)
    light = np.clip(level / max(float(np.percentile(level, 90)), 1), 0.5, 1)
    return Colours(ground, print_, np.asarray(_PAPER * light[:, None], np.float32), True)


def _is_other(near: Strip, usual: Strip, other: Strip, least: float) -> NDArray[np.bool_]:
    """Where paper, or the ground, shows as deep as the print is looked at: that share of the way to its colour."""
    share = _share(near[:, None], usual, other)[0][:, 0]
    share[np.linalg.norm(other - usual, axis=1) < _TELLS] = 0
    half = round(_ACROSS / 2 / ALONG)
    sharp = np.abs(np.roll(share, half) - np.roll(share, -half)) >= _SHARP
    bare = share > least
    for rows in stretches(bare):
        bare[rows] &= sharp[max(rows.start - half, 0) : rows.stop + half].any()
    return np.asarray(bare, np.bool_)


def stretches(hit: NDArray[np.bool_]) -> list[slice]:
    """Neighbouring places that are hit."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], hit, [False]]).astype(int)))
    return [slice(int(begin), int(end)) for begin, end in zip(steps[::2], steps[1::2], strict=True)]


def _band(rim: Rim, first: float, last: float) -> Strip:
    """n x 3: median over depths, millimetres inwards."""
    inside = (rim.depths >= first - INWARDS / 2) & (rim.depths <= last + INWARDS / 2)
    return np.asarray(np.median(rim.strip[:, inside], axis=1), np.float32)


def _around(colours: Strip, reach: float, percent: float) -> Strip:
    """A percentile of the places within `reach` millimetres along the rim, which closes on itself."""
    half = round(reach / ALONG)
    step = max(half // 12, 1)
    padded = np.concatenate([colours[-half:], colours, colours[:half]])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0)[..., ::step]
    return np.asarray(np.percentile(windows, percent, axis=-1), np.float32)


def _bridged(colours: Strip, gaps: NDArray[np.bool_]) -> Strip:
    """With colours in the gaps that lie between those at their ends."""
    places, kept = np.arange(len(colours)), np.flatnonzero(~gaps)
    filled = [np.interp(places, kept, colours[kept, channel], period=len(colours)) for channel in range(3)]
    return np.asarray(np.column_stack(filled), np.float32)


def _outline(rim: Rim, colours: Colours) -> Floats:
    contrast = np.maximum(np.linalg.norm(colours.print - colours.ground, axis=1), 1)
    share, _ = _share(rim.strip, colours.ground, colours.print)
    far = np.linalg.norm(rim.strip - colours.ground[:, None], axis=2) / contrast[:, None]
    # Bare paper is neither ground nor print; it is card if it is far from the ground.
    card = np.maximum(share, _ELSEWHERE * far).astype(np.float32)
    card = np.asarray(cv2.GaussianBlur(card, (0, 0), sigmaX=0.8, sigmaY=1.0))
    looked = (rim.depths >= -0.6) & (rim.depths <= _LOOKED)
    depths, card = rim.depths[looked], card[:, looked]
    first = np.argmax(card >= 0.5, axis=1)
    rows = np.arange(len(card))
    rise = card[rows, first] - card[rows, np.maximum(first - 1, 0)]
    shift = np.clip((card[rows, first] - 0.5) / np.maximum(rise, 1e-3), 0, 1)
    told = (contrast >= (_TELLS if colours.bordered else _TELLS_ON_ART)) & (card.max(axis=1) >= 0.5) & (first > 0)
    return np.where(told, depths[first] - shift * INWARDS, np.nan)


def _share(strip: Strip, begin: Strip, end: Strip) -> tuple[Strip, Strip]:
    """n x m: how far colours are on the way from one to another, and how far beside it, both as shares of it."""
    towards = end - begin
    length = np.maximum(np.linalg.norm(towards, axis=1), 1)[:, None]
    off = strip - begin[:, None]
    share = np.einsum("nmc,nc->nm", off, towards) / length**2
    aside = np.linalg.norm(off - share[..., None] * towards[:, None], axis=2) / length
    return np.asarray(share, np.float32), np.asarray(aside, np.float32)


def _whitened(rim: Rim, colours: Colours, edge: Floats) -> Floats:
    share, aside = _share(rim.strip, colours.print, colours.paper)
    paper = (share >= (_WHITE if colours.bordered else _WHITE_ON_ART)) & (aside <= 0.35 + 0.2 * share)
    begin = edge + max(_BLUR * rim.pixel, INWARDS)
    beyond = rim.depths[None] >= begin[:, None]
    # From the rim inwards without a gap: what begins deeper is print.
    going = np.logical_and.accumulate(paper | ~beyond, axis=1) & beyond
    depth = going.sum(axis=1) * INWARDS
    told = (np.linalg.norm(colours.paper - colours.print, axis=1) >= _FAINT) & (depth >= _THIN)
    if not colours.bordered:
        told &= (depth <= _DEEPEST_ON_ART) | (_at_one_corner(rim, depth > 0) & (depth <= _DEEPEST_AT_CORNER))
    return np.where(told, depth + begin - edge, 0.0)


def _at_one_corner(rim: Rim, hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of places that are hit, those whose stretch begins and ends in the rows of one corner."""
    kept = np.zeros(len(hit), bool)
    for rows in rim.corners:
        here = hit[rows]
        for part in stretches(here):
            kept[rows][part] = part.start > 0 and part.stop < len(here)
    return kept
