"""Batches: outcomes, legal moves, ids."""

from __future__ import annotations

import time
import uuid

import pytest

from broker.batches import Outcome, Record, Result, first_id, is_id, new_id, outcome_of


def results(*codes: int) -> list[Result]:
    return [Result(index=index, code=code, text="", request_id=new_id()) for index, code in enumerate(codes)]


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        ([200], Outcome.SUCCEEDED),
        ([200, 201, 299], Outcome.SUCCEEDED),
        ([200, 404], Outcome.PARTIAL),
        ([500, 200, 400], Outcome.PARTIAL),
        ([404], Outcome.FAILED),
        ([300, 199, 500], Outcome.FAILED),
        ([499], Outcome.FAILED),
        ([200, 499], Outcome.PARTIAL),
    ],
)
def test_the_outcome_follows_from_the_results(codes: list[int], outcome: Outcome) -> None:
    assert outcome_of(results(*codes)) is outcome


@pytest.mark.parametrize(("code", "ok"), [(199, False), (200, True), (299, True), (300, False)])
def test_a_result_is_ok_between_200_and_299(code: int, ok: bool) -> None:
    assert results(code)[0].ok is ok


def test_records_with_one_source_share_a_fetch() -> None:
    one, two = Record(id="1", url="https://a/x"), Record(id="2", url="https://a/x", fields={"sku": 7})
    assert one.source == two.source
    assert one.source != Record(id="3", url="https://a/y").source
    assert one.source != Record(id="4", blob="https://a/x").source


def test_the_least_id_of_a_time_is_not_above_those_made_then() -> None:
    id = new_id()
    milliseconds = uuid.UUID(id).int >> 80
    assert first_id(milliseconds) <= id < first_id(milliseconds + 1)
    least = uuid.UUID(first_id(milliseconds))
    assert (least.int >> 80, least.version, least.variant) == (milliseconds, 7, uuid.RFC_4122)
    assert is_id(first_id(0))


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(new_id()) for _ in range(200)]
    after = time.time_ns() // 1_000_000
    for id in ids:
        assert (id.version, id.variant) == (7, uuid.RFC_4122)
        assert before <= id.int >> 80 <= after


def test_later_ids_sort_later() -> None:
    ids = []
    for _ in range(200):
        ids.append(new_id())
        start = time.time_ns()
        while time.time_ns() - start < 1000:
            pass
    assert ids == sorted(ids)


def test_ids_do_not_repeat() -> None:
    assert len({new_id() for _ in range(20_000)}) == 20_000


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("0192f0c1-7a3b-7def-8123-456789abcdef", True),
        ("0192F0C1-7A3B-7DEF-8123-456789ABCDEF", True),
        ("0192f0c17a3b7def8123456789abcdef", False),
        ("{0192f0c1-7a3b-7def-8123-456789abcdef}", False),
        ("urn:uuid:0192f0c1-7a3b-7def-8123-456789abcdef", False),
        (" 0192f0c1-7a3b-7def-8123-456789abcdef", False),
        ("0192f0c1-7a3b-7def-8123-456789abcde", False),
        ("0192f0c1-7a3b-7def-8123-456789abcdeg", False),
        ("17", False),
        ("", False),
    ],
)
def test_an_id_from_outside_is_checked(text: str, valid: bool) -> None:
    assert is_id(text) is valid
