"""Cards of known geometry, by both renderers: found, their corners, their centering. `bench.grader` measures more."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from bench.cards import painted
from bench.cards.grounds import GROUNDS
from bench.cards.truth import Pixels, Rendered
from bench.grader import RENDERERS, Measured, measure
from handlers.card_grader.frame import find_frame
from handlers.card_grader.views import Views
from handlers.contract import RecordError
from handlers.vision import find_card, find_cards, rectify

PICTURES = 10
ASPECT = 63 / 88
FLUSH = {"painted": 20000, "drawn": 500}
"""Seeds of cards without a sleeve."""


@pytest.fixture(scope="module", params=RENDERERS)
def measured(request: pytest.FixtureRequest) -> Measured:
    return measure(RENDERERS[request.param], range(500, 500 + PICTURES))


def test_cards_are_found_with_their_corners_and_centering(measured: Measured) -> None:
    """One test, as the pictures take seconds. Of ten pictures one may be missed, and one be off by a few pixels."""
    assert measured.found >= 100 * (PICTURES - 1) / PICTURES, measured.missed
    assert np.median(measured.corners) <= 0.3
    assert np.percentile(measured.corners, 85) <= 2
    assert measured.measured >= 70, measured.missed
    assert np.median(measured.centering) <= 0.5
    assert np.percentile(measured.centering, 95) <= 2


def worst_corner(render: Callable[[int], Rendered], seed: int) -> float:
    picture = render(seed)
    return float(picture.corner_errors(find_card(picture.pixels, ASPECT).points + 0.5).max())


@pytest.mark.parametrize("seed", [20141, 20349])
def test_rim_of_a_shadow_is_not_the_cards_side(seed: int) -> None:
    """A border about as bright as the ground, whose shadow's rim is the stronger edge: 12 and 17 pixels off it."""
    assert worst_corner(painted.render, seed) < 3


@pytest.mark.parametrize("seed", [20053, 20336])
def test_faint_outline_around_a_bright_frame(seed: int) -> None:
    assert worst_corner(painted.render, seed) < 3


def test_small_card_in_a_narrow_sleeve() -> None:
    assert worst_corner(painted.render, 20002) < 3


def test_lines_of_text_crowd_out_no_side() -> None:
    assert worst_corner(painted.render, 20062) < 3


def test_glare_that_hides_a_corner() -> None:
    assert worst_corner(painted.render, 20080) < 3


def upright(picture: Rendered) -> Pixels:
    """The card seen from above, 630 x 880 pixels, with 150 of its surroundings."""
    return rectify(picture.pixels, picture.points - 0.5, (630, 880), 150)


@pytest.mark.parametrize("name", RENDERERS)
def test_card_flush_with_the_pictures_border(name: str) -> None:
    """At one side, and at two that meet."""
    seen = upright(RENDERERS[name](FLUSH[name]))
    for left, top in ((150, 0), (150, 150)):
        points = find_card(np.ascontiguousarray(seen[top:, left:]), ASPECT).points + 0.5
        corner = np.array([150 - left, 150 - top])
        assert np.abs(points - corner - np.array([[0, 0], [630, 0], [630, 880], [0, 880]])).max() < 5


@pytest.mark.parametrize("name", RENDERERS)
def test_card_cut_off_by_the_pictures_border_gets_no_made_up_corner(name: str) -> None:
    """By two millimetres at its left and at its bottom, and by so little there that its round corners show."""
    seen = upright(RENDERERS[name](FLUSH[name]))
    for part in (seen[:, 170:], seen[:1010], seen[:1018]):
        with pytest.raises(RecordError, match="cut off by the picture's border"):
            find_card(np.ascontiguousarray(part), ASPECT)


def test_every_card_of_a_picture_with_four() -> None:
    scenes = [painted.render(seed, "dark", (700, 800)) for seed in range(81000, 81004)]
    rows = [np.hstack([one.pixels for one in scenes[:2]]), np.hstack([one.pixels for one in scenes[2:]])]
    found = find_cards(np.vstack(rows), ASPECT)
    assert len(found) == 4
    for place, scene in enumerate(scenes):
        moved = np.array([700 * (place % 2), 800 * (place // 2)])
        assert min(scene.corner_errors(one.points + 0.5 - moved).max() for one in found) < 10


def test_no_card_is_an_empty_list() -> None:
    assert find_cards(np.full((600, 800, 3), 128, np.uint8), ASPECT) == []


@pytest.mark.parametrize("ground", GROUNDS)
def test_points_run_clockwise_from_the_upper_left(ground: str) -> None:
    picture = painted.render(900, ground)
    points = find_card(picture.pixels, ASPECT).points + 0.5
    assert picture.corner_errors(points).max() < 10
    along = np.roll(points, -1, axis=0) - points
    assert (along[:, 0] * np.roll(along, -1, axis=0)[:, 1] > along[:, 1] * np.roll(along, -1, axis=0)[:, 0]).all()
    assert points[:2, 1].mean() < points[2:, 1].mean()


def test_same_picture_gives_the_same_points() -> None:
    picture = painted.render(901, "wood")
    assert (find_card(picture.pixels, ASPECT).points == find_card(picture.pixels, ASPECT).points).all()


def test_card_that_fills_the_picture_to_its_borders() -> None:
    """A scan, cut where the card ends: no ground is left that could show its sides."""
    picture = painted.render(903, "plain")
    scan = Views(picture.pixels, picture.points - 0.5, ASPECT).exact
    points = find_card(scan, ASPECT).points + 0.5
    height, width = scan.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    assert np.abs(points - corners).max() < 0.01 * height


def test_card_of_another_shape_is_found_by_its_aspect() -> None:
    """The same picture flattened: 63 x 88 becomes 63 x 70."""
    picture = painted.render(905, "plain")
    upright = Views(picture.pixels, picture.points - 0.5, ASPECT).full
    height, width = upright.shape[:2]
    squat = np.asarray(cv2.resize(upright, (width, height * 70 // 88), interpolation=cv2.INTER_AREA), np.uint8)
    points = find_card(squat, 63 / 70).points
    across, along = np.ptp(points, axis=0)
    assert across / along == pytest.approx(63 / 70, rel=0.01)


def test_border_that_is_not_there_is_not_measured() -> None:
    pictures = [picture for picture in map(painted.render, range(1000, 1016)) if picture.borders is None]
    assert pictures
    for picture in pictures:
        assert find_frame(Views(picture.pixels, picture.points - 0.5, ASPECT).exact) is None
