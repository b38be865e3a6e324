"""The card grader's answers to the key, and what it says of pictures that it cannot grade."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.cards import painted
from bench.cards.damage import Damage
from bench.cards.grounds import GROUNDS
from bench.cards.truth import Rendered
from bench.photographs import FOLDERS, SHA256
from handlers.card_grader.handler import CardGrader
from handlers.card_grader.params import SPEC, CardParams
from handlers.contract import Config, Facts, Record, RecordError
from tests.unit.handlers.conftest import FolderBox

Grade = Callable[..., Facts]
EVERY = {"_width", "_height", "_objects", "_points", "card", "versions", "_method"}


@pytest.fixture
def grade(config: Config, box: FolderBox) -> Grade:
    """`grade(file, endpoint, side)`: the shipped handler's facts."""
    handler = CardGrader()
    handler.setup(replace(config, max_image_pixels=40_000_000, max_image_bytes=100_000_000))

    def grade(file: bytes, endpoint: str = "centering", side: str | None = None, **params: float | str) -> Facts:
        checked = SPEC.endpoints[endpoint].model_validate(params)
        assert isinstance(checked, CardParams)
        return handler.run(Record(0, "r", file, {"Side": side} if side else {}), checked, box)

    return grade


@pytest.fixture(scope="module")
def picture() -> Rendered:
    """A card with a printed border."""
    return next(one for one in (painted.render(seed, "wood") for seed in range(700, 720)) if one.borders)


def opened(facts: Facts, key: str) -> Image.Image:
    return Image.open(io.BytesIO(facts[key].data))


def test_centering_answers_to_the_key(grade: Grade, picture: Rendered) -> None:
    facts = grade(picture.jpeg())
    assert facts.keys() == EVERY | {"grades", "_exact_url_card", "_clean_url_card"}
    assert facts["versions"].keys() == {"detection", "points", "centering"}
    errors = picture.corner_errors(np.array(facts["_points"]))
    assert np.median(errors) < 0.5, "half a pixel, from a pixel's middle to the picture's corner, would be more"
    (card,) = facts["card"]
    assert card.keys() == {"name", "polygon", "bound_box", "centering", "_tags"}
    assert card["_tags"].keys() == {"Category", "Autograph", "Side"}
    assert card["polygon"] == [[int(x), int(y)] for x, y in facts["_points"]]
    (found,) = facts["_objects"]
    assert found.keys() == {"name", "id", "bound_box", "prob"}
    across, along = picture.centering()
    assert int(card["centering"]["left/right"].split("/")[0]) == pytest.approx(across, abs=2)
    assert int(card["centering"]["top/bottom"].split("/")[0]) == pytest.approx(along, abs=2)
    assert facts["grades"] == {"centering": card["centering"]["grade"]}
    assert "not a certified grade" in facts["_method"]


def test_grade_answers_to_the_key(grade: Grade, picture: Rendered) -> None:
    facts = grade(picture.jpeg(), "grade", "Front")
    links = {"_full_url_card", "_exact_url_card", "_report_url"}
    assert facts.keys() == EVERY | {"corners", "edges", "grades", "_finest_mm"} | links
    parts = {"corners", "edges", "surface", "centering", "final"}
    assert facts["versions"].keys() == parts | {"detection", "points"}
    assert all(corner.keys() == {"name", "bound_box", "point", "grade", "_findings"} for corner in facts["corners"])
    assert all(edge.keys() == {"name", "polygon", "grade", "_findings"} for edge in facts["edges"])
    (card,) = facts["card"]
    assert card.keys() == {"name", "polygon", "bound_box", "_tags", "surface", "centering"}
    assert card["_tags"].keys() == {"Category", "Damaged", "Autograph", "Side"}
    assert card["_tags"]["Side"][0] | {"id": ""} == {"name": "Front", "prob": 1.0, "id": ""}
    grades = facts["grades"]
    assert grades.keys() == parts | {"condition"}
    assert all(1 <= grades[part] <= 10 and grades[part] * 2 % 1 == 0 for part in parts)
    assert grades["surface"] == card["surface"]["grade"]
    assert "not a certified grade" in facts["_method"]
    assert opened(facts, "_report_url").width > opened(facts, "_full_url_card").width


def test_condition_answers_to_the_key(grade: Grade, picture: Rendered) -> None:
    facts = grade(picture.jpeg(), "condition", mode="cardmarket")
    assert facts.keys() == EVERY
    (condition,) = facts["_objects"][0]["Condition"]
    assert condition.keys() == {"label", "scale_value", "max_scale_value", "mode"}
    assert (condition["mode"], condition["max_scale_value"]) == ("cardmarket", 7)
    assert facts["card"][0]["_tags"]["Side"][0]["prob"] == 0.5


def test_findings_lie_where_the_damage_is(grade: Grade) -> None:
    """The corner that is printed as the upper left one, wherever it lies."""
    unharmed = painted.render(702, "plain", card=9)
    harmed = painted.render(702, "plain", card=9, damage=Damage(whitening=(1.5, 0, 0, 0)))
    before, after = (grade(one.jpeg(), "grade")["corners"] for one in (unharmed, harmed))
    place = 2 if harmed.turned else 0
    falls = [one["grade"] - other["grade"] for one, other in zip(before, after, strict=True)]
    assert falls[place] >= 2
    assert max(fall for corner, fall in enumerate(falls) if corner != place) <= 0.5
    (finding,) = after[place]["_findings"]
    assert finding["name"] == "whitening"
    millimetre = harmed.card_height / 88
    assert np.linalg.norm(np.mean(finding["polygon"], axis=0) - harmed.points[place]) < 3 * millimetre


def test_side_that_is_told_loosens_the_centering_of_a_back(grade: Grade) -> None:
    picture = next(
        one
        for one in (painted.render(seed, "plain") for seed in range(740, 780))
        if one.borders and 58 < max(*one.centering(), *(100 - share for share in one.centering())) < 70
    )
    front, back = (grade(picture.jpeg(), "centering", side)["grades"]["centering"] for side in ("Front", "Back"))
    assert front < 9.5
    assert back == 10


def test_pictures_show_the_card_straight(grade: Grade, picture: Rendered) -> None:
    facts = grade(picture.jpeg()) | grade(picture.jpeg(), "crop_level")
    exact, clean, full = (opened(facts, f"_{name}_url_card") for name in ("exact", "clean", "full"))
    assert (exact.format, exact.size, exact.mode) == ("WEBP", (1008, 1408), "RGB")
    assert (clean.size, clean.mode) == (exact.size, "RGBA")
    alpha = np.asarray(clean)[..., 3]
    assert alpha[0, 0] == alpha[-1, 0] == 0
    assert alpha[0, 504] == alpha[704, 0] == 255
    assert full.width > exact.width
    assert full.height > exact.height


def test_localize_names_corners_and_edges_without_grades(grade: Grade, picture: Rendered) -> None:
    facts = grade(picture.jpeg(), "localize")
    assert facts.keys() == EVERY | {"corners", "edges"}
    assert [corner["name"] for corner in facts["corners"]] == ["UPPER_LEFT", "UPPER_RIGHT", "DOWN_RIGHT", "DOWN_LEFT"]
    assert [edge["name"] for edge in facts["edges"]] == ["UPPER", "RIGHT", "DOWN", "LEFT"]
    assert all(corner.keys() == {"name", "bound_box", "point"} for corner in facts["corners"])
    assert all(edge.keys() == {"name", "polygon"} for edge in facts["edges"])
    for corner in facts["corners"]:
        left, top, right, bottom = corner["bound_box"]
        x, y = corner["point"]
        assert left <= x <= right
        assert top <= y <= bottom


def test_card_without_a_border_is_not_measurable(grade: Grade) -> None:
    picture = next(one for one in map(painted.render, range(1000, 1040)) if one.borders is None)
    facts = grade(picture.jpeg())
    found = facts["card"][0]["centering"]
    assert found["left/right"] == found["top/bottom"] == "not measurable"
    assert facts["grades"] == {"centering": None}


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "16 bit"])
def test_other_colour_models_give_the_same_points(mode: str, grade: Grade, picture: Rendered) -> None:
    image = Image.fromarray(picture.pixels)
    buffer = io.BytesIO()
    if mode == "16 bit":
        _, data = cv2.imencode(".png", picture.pixels[..., ::-1].astype(np.uint16) * 257)
        buffer.write(data.tobytes())
    else:
        image.convert(mode).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    points = np.array(grade(buffer.getvalue(), "localize")["_points"])
    assert picture.corner_errors(points).max() < 10


def file_of(pixels: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def refusal(grade: Grade, file: bytes) -> tuple[int, str]:
    with pytest.raises(RecordError) as refused:
        grade(file)
    return refused.value.code, refused.value.text


@pytest.mark.parametrize("file", [b"Not found", b"<svg/>", b"%PDF-1.7"])
def test_wrong_kind_of_file(file: bytes, grade: Grade) -> None:
    assert refusal(grade, file)[0] == 415


@pytest.mark.parametrize("level", [0, 127, 255])
def test_blank_picture(level: int, grade: Grade) -> None:
    code, text = refusal(grade, file_of(np.full((800, 600, 3), level)))
    assert (code, text.split(":")[0]) == (422, "no card was found")


@pytest.mark.parametrize("size", [(1, 1), (199, 199), (1, 150)])
def test_picture_too_small_for_a_card(size: tuple[int, int], grade: Grade) -> None:
    code, text = refusal(grade, file_of(np.full((*size, 3), 90)))
    assert code == 422
    assert f"{size[1]} x {size[0]} pixels is too small" in text


@pytest.mark.parametrize("size", [(100, 20_000), (20_000, 100), (1, 20_000), (800, 20_000)])
def test_strip_of_twenty_thousand_pixels(size: tuple[int, int], grade: Grade) -> None:
    """Noise, which is full of edges."""
    begin = time.process_time()
    noise = np.random.default_rng(5).integers(0, 255, (*size, 1)).repeat(3, axis=2)
    assert refusal(grade, file_of(noise))[0] == 422
    assert time.process_time() - begin < 60  # it ends, whatever else the machine does


def test_noise_is_no_card(grade: Grade) -> None:
    assert refusal(grade, file_of(np.random.default_rng(1).integers(0, 255, (900, 700, 3))))[0] == 422


@pytest.mark.parametrize("ground", GROUNDS)
def test_ground_without_a_card(ground: str, grade: Grade) -> None:
    for seed in range(2):
        bare = GROUNDS[ground](np.random.default_rng(seed), (900, 1200))
        code, text = refusal(grade, file_of(np.clip(bare, 0, 255)))
        assert (code, text.split(":")[0]) == (422, "no card was found"), seed


@pytest.mark.parametrize("name", [*SHA256, "page.png", "text.png"])
def test_photograph_without_a_card(name: str, grade: Grade) -> None:
    """Surfaces, a face, animals, machines, a landscape, a printed page: scikit-image's and scikit-learn's pictures."""
    path = next(folder / name for folder in FOLDERS if (folder / name).exists())
    code, text = refusal(grade, path.read_bytes())
    assert code == 422
    assert text.startswith("no card was found") or "too small" in text


def test_keyboard_is_no_card(grade: Grade) -> None:
    keys = np.full((700, 1400, 3), 30)
    for row in range(5):
        for column in range(14):
            top, left = 100 + 100 * row, 5 + 100 * column + 20 * (row % 2)
            keys[top : top + 84, left : left + 84] = 70
            keys[top + 30 : top + 50, left + 30 : left + 45] = 210
    code, text = refusal(grade, file_of(keys))
    assert (code, text.split(":")[0]) == (422, "no card was found")


def test_gradient_is_no_card(grade: Grade) -> None:
    slope = np.add.outer(np.linspace(0, 120, 700), np.linspace(0, 120, 900))[..., None].repeat(3, axis=2)
    code, text = refusal(grade, file_of(slope))
    assert (code, text.split(":")[0]) == (422, "no card was found")


@pytest.mark.parametrize("name", ["coffee.jpg", "chelsea.jpg"])
def test_photograph_of_something_else(name: str, photographs: Path, grade: Grade) -> None:
    code, text = refusal(grade, (photographs / name).read_bytes())
    assert (code, text.split(":")[0]) == (422, "no card was found")


def test_card_under_two_hundred_pixels(grade: Grade, picture: Rendered) -> None:
    small = cv2.resize(
        picture.pixels, None, fx=150 / picture.card_height, fy=150 / picture.card_height, interpolation=cv2.INTER_AREA
    )
    pixels = np.full((800, 800, 3), small[0, 0])
    pixels[200 : 200 + small.shape[0], 150 : 150 + small.shape[1]] = small
    code, text = refusal(grade, file_of(pixels))
    assert code == 422
    assert "pixels high" in text or "no card" in text


def test_two_cards_on_one_picture(grade: Grade) -> None:
    one, other = (painted.render(seed, "plain", (900, 1200)).pixels for seed in (712, 713))
    code, text = refusal(grade, file_of(np.hstack([one, other])))
    assert code == 422
    assert "cards were found: send one card a picture" in text


def test_photograph_of_twelve_megapixels_takes_little_time(grade: Grade) -> None:
    """About a second on a free core; the bound leaves room for a busy machine."""
    picture = painted.render(720, "wood", (1000, 1333))
    large = np.asarray(cv2.resize(picture.pixels, (3000, 4000), interpolation=cv2.INTER_CUBIC), np.uint8)
    file = Rendered(large, picture.points * 3, picture.borders, picture.scene).jpeg()
    begin = time.process_time()
    facts = grade(file)
    assert time.process_time() - begin < 4
    assert picture.corner_errors(np.array(facts["_points"]) / 3).max() < 10
