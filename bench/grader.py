"""How well cards are found, measured and graded, on pictures whose truth is known: `python -m bench.grader`.

Two renderers make the pictures: `painted`, which the finder was tuned on, and `drawn`, which shares no drawing code
with it. Errors of corners are in pixels of a card 1,000 high, those of centering in percentage points.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import cv2
import numpy as np
import typer

from bench import worn
from bench.cards import drawn, painted
from bench.cards.truth import HEIGHT, WIDTH, Rendered
from bench.figures import Figure, rows
from bench.photographs import photographs
from handlers.card_grader.frame import find_frame
from handlers.card_grader.views import Views
from handlers.contract import RecordError
from handlers.vision import find_card

RENDERERS: dict[str, worn.Render] = {"painted": painted.render, "drawn": drawn.render}


@dataclass
class Measured:
    """What a number of pictures brought. corners, centering: errors. missed: seeds and scenes, with what went wrong."""

    pictures: int = 0
    bordered: int = 0
    corners: list[float] = field(default_factory=list)
    centering: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def found(self) -> float:
        """Percent of the pictures."""
        return 100 * len(self.corners) / 4 / self.pictures

    @property
    def measured(self) -> float:
        """Percent of the cards with a printed border whose centering was measured."""
        return 100 * len(self.centering) / 2 / max(self.bordered, 1)


def measure(render: Callable[[int], Rendered], seeds: Iterable[int]) -> Measured:
    """Find and measure the card of each seed."""
    result = Measured()
    for seed in seeds:
        _measure(result, seed, render(seed))
    return result


def _measure(result: Measured, seed: int, picture: Rendered) -> None:
    result.pictures += 1
    result.bordered += picture.borders is not None
    begin = time.process_time()
    try:
        points = find_card(picture.pixels, WIDTH / HEIGHT).points
    except RecordError as error:
        result.missed.append(f"{seed} {picture.scene}: {error}")
        return
    finally:
        result.seconds.append(time.process_time() - begin)
    errors = picture.corner_errors(points + 0.5)
    if errors.max() > worn.FOUND:
        result.missed.append(f"{seed} {picture.scene}: {errors.max():.0f} pixels off")
        return
    result.corners.extend(errors)
    frame = find_frame(Views(picture.pixels, points, WIDTH / HEIGHT).exact)
    if (frame is None) != (picture.borders is None):
        result.missed.append(f"{seed} {picture.scene}: border {'not ' if frame is None else ''}measured")
    if frame is None or picture.borders is None:
        return
    across, along = picture.centering()
    result.centering.append(abs(100 * frame.left / (frame.left + frame.right) - across))
    result.centering.append(abs(100 * frame.top / (frame.top + frame.bottom) - along))


def false_cards() -> Figure:
    """Cards found on photographs that show none."""
    found = 0
    for photograph in photographs().values():
        try:
            find_card(np.asarray(photograph.convert("RGB")), WIDTH / HEIGHT)
        except RecordError:
            continue
        found += 1
    return Figure("photographs without a card: cards found", found, 0, most=True)


def figures(name: str, result: Measured) -> list[Figure]:
    """Beside the targets."""
    corners, centering = result.corners or [np.inf], result.centering or [np.inf]
    return [
        Figure(f"{name}: cards found (%)", result.found, 98),
        Figure(f"{name}: corner error, median (px at 1,000)", float(np.median(corners)), 0.7, most=True),
        Figure(f"{name}: corner error, p95 (px at 1,000)", float(np.percentile(corners, 95)), 2, most=True),
        Figure(f"{name}: centering error, median (points)", float(np.median(centering)), 0.5, most=True),
        Figure(f"{name}: centering error, p95 (points)", float(np.percentile(centering, 95)), 2, most=True),
        Figure(f"{name}: printed borders measured (%)", result.measured, 90),
        Figure(f"{name}: CPU seconds to find a card, median", float(np.median(result.seconds)), 1, most=True),
    ]


def main(
    pictures: Annotated[int, typer.Option(min=1, help="Of each renderer.")] = 200,
    cards: Annotated[
        int, typer.Option(min=1, help="Of each renderer, for each kind of damage and for photographs.")
    ] = 10,
    first: Annotated[int, typer.Option(help="The first picture's seed.")] = 10_000,
    show: Annotated[bool, typer.Option(help="Name the pictures that were missed.")] = False,
) -> None:
    """Measure and print the table."""
    cv2.setNumThreads(1)
    for name, render in RENDERERS.items():
        print(
            *rows(worn.figures(name, render, range(first, first + cards), range(50, 50 + cards))), sep="\n", flush=True
        )
        result = measure(render, range(first, first + pictures))
        print(*rows(figures(name, result)), sep="\n", flush=True)
        missed: Sequence[str] = result.missed if show else ()
        for line in missed:
            print(f"  {line}")
    print(*rows([false_cards()]), sep="\n")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
