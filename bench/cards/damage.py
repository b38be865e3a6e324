"""What is wrong with a rendered card: known amounts in millimetres, the same for both renderers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Four: TypeAlias = tuple[float, float, float, float]
NONE: Four = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Damage:
    """Corners clockwise from the print's upper left, edges clockwise from its upper one.

    whitening: radius of bare paper around each corner's tip. rounding: by how much its arc's radius is too large.
    rubbed: width of bare paper along the middle half of each edge. chips: how many pieces each edge lacks, each
    `chip_depth` deep and two to four times as long. scratches: how many, each `scratch_length` long, `scratch_width`
    wide and `scratch_contrast` levels lighter or darker than what it runs over. dents: how many, of `dent_radius`
    and, from their lit to their dark side, twice `dent_contrast` levels. print_lines: how many thin lines run from
    side to side, parallel to one, `scratch_contrast` levels off.
    """

    whitening: Four = NONE
    rounding: Four = NONE
    rubbed: Four = NONE
    chips: Four = NONE
    chip_depth: float = 0.5
    scratches: int = 0
    scratch_length: float = 15.0
    scratch_width: float = 0.2
    scratch_contrast: float = 50.0
    dents: int = 0
    dent_radius: float = 1.0
    dent_contrast: float = 40.0
    print_lines: int = 0


UNHARMED = Damage()
