"""A pinhole camera over a card on a table: the homography from the card's millimetres to the picture's pixels."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from bench.cards.truth import HEIGHT, OUTLINE, WIDTH, Points


def view(random: Generator, size: tuple[int, int], fill: float, tilt: float, touching: bool = False) -> Points:
    """3 x 3, to pixels from the picture's outer upper left corner.

    fill: the card's outline takes so much of the picture's width or height, whichever it reaches first. tilt: most
    degrees between the camera's axis and the card's normal. touching: it is pushed against the picture's border.
    """
    turn = random.uniform(0, 2 * np.pi)
    lean, towards = np.radians(tilt * np.sqrt(random.random())), random.uniform(0, 2 * np.pi)
    focal = random.uniform(0.75, 1.6) * max(size)
    spin = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    axis = np.array([np.cos(towards), np.sin(towards), 0])
    cross = np.array([[0, 0, axis[1]], [0, 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = (np.eye(3) + np.sin(lean) * cross + (1 - np.cos(lean)) * cross @ cross) @ spin
    centred = np.array([[1, 0, -WIDTH / 2], [0, 1, -HEIGHT / 2], [0, 0, 1]])

    def seen(distance: float) -> Points:
        """With the card's middle on the axis, `distance` millimetres away."""
        plane = np.column_stack([rotation[:, 0], rotation[:, 1], [0, 0, distance]])
        return np.asarray(np.diag([focal, focal, 1]) @ plane @ centred, float)

    near, far = 60.0, 6000.0
    for _ in range(40):
        middle = (near * far) ** 0.5
        reach = np.ptp(project(seen(middle), OUTLINE), axis=0)
        near, far = (middle, far) if (reach / size).max() > fill else (near, middle)
    matrix = seen(far)
    points = project(matrix, OUTLINE)
    room = np.array(size) - np.ptp(points, axis=0)
    place = random.uniform(0.05, 0.95, 2) * room
    if touching:
        place[int(random.integers(2))] = 0
    move = np.eye(3)
    move[:2, 2] = place - points.min(axis=0)
    return np.asarray(move @ matrix, float)


def project(matrix: Points, points: Points) -> Points:
    """n x 2 points through a homography."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], float)
