"""Cards of known geometry, by both renderers: found, their corners, their centering. `bench.grader` measures more."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bench.cards import painted
from bench.cards.grounds import GROUNDS
from bench.grader import RENDERERS, Measured, measure
from handlers.card_grader.frame import find_frame
from handlers.card_grader.views import Views
from handlers.vision import find_card

PICTURES = 10
ASPECT = 63 / 88


@pytest.fixture(scope="module", params=RENDERERS)
def measured(request: pytest.FixtureRequest) -> Measured:
    return measure(RENDERERS[request.param], range(500, 500 + PICTURES))


def test_cards_are_found_with_their_corners_and_centering(measured: Measured) -> None:
    """One test, as the pictures take seconds. Of ten pictures one may be missed, and one be off by a few pixels."""
    assert measured.found >= 100 * (PICTURES - 1) / PICTURES, measured.missed
    assert np.median(measured.corners) <= 0.7
    assert np.percentile(measured.corners, 85) <= 2
    assert measured.measured >= 70, measured.missed
    assert np.median(measured.centering) <= 0.5
    assert np.percentile(measured.centering, 95) <= 2


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
