"""The table of batches: on a narrow terminal as on a wide one, an id and how its batch stands are in one line."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest
from rich.console import Console

from broker.cli import endpoints, tables
from broker.cli.batches import COLUMNS, table_of

ID = "01a20d5c-1f1c-711c-9373-1d9bebd739ad"
ALWAYS = {"id", "type", "status", "records"}


def batch(status: str, outcome: str | None = None, failed: int = 0) -> dict[str, Any]:
    return {
        **{"id": ID, "workspace": ID, "dialect": "ximilar", "type": "upscaler", "endpoint": "upscale_2x", "run": 1},
        **{"status": status, "outcome": outcome, "created": "2026-11-24T20:02:22.123456Z"},
        "counts": {"finished": 10, "records": 10, "failed": failed},
    }


def lines(width: int, *batches: dict[str, Any]) -> list[str]:
    out = io.StringIO()
    screen = Console(file=out, width=width)
    screen.print(table_of(batches, screen))
    return out.getvalue().splitlines()


def columns(width: int) -> set[str]:
    return set(lines(width, batch("DONE", "succeeded"))[1].replace("┃", " ").split())


@pytest.mark.parametrize(("status", "outcome"), [("PROCESSING", None), ("DONE", "succeeded"), ("DONE", "cancelled")])
def test_eighty_columns_are_enough_for_a_batch_in_one_line(status: str, outcome: str | None) -> None:
    (line,) = lines(80, batch(status, outcome))[3:-1]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        *(ID, "upscaler"),
        f"{status} {outcome or ''}".strip(),
        "10 of 10",
    ]


def test_what_does_not_fit_folds_between_words() -> None:
    first, second = lines(80, batch("DONE", "partial", failed=3))[3:-1]
    assert all(whole in first for whole in (ID, "upscaler", "DONE partial", "10 of 10, 3"))
    assert second.replace("│", " ").split() == ["failed"]


def test_whose_it_is_is_told_where_several_workspaces_are_shown() -> None:
    mine, theirs = batch("PAUSED"), {**batch("PAUSED"), "workspace": ID.replace("1", "2")}
    assert "workspace" not in lines(200, mine, mine)[1]
    assert [theirs["workspace"] in line for line in lines(200, mine, theirs)[3:-1]] == [False, True]
    assert "workspace" not in lines(80, mine, theirs)[1]


def test_columns_come_with_the_room_for_them_and_the_least_needed_last() -> None:
    assert columns(80) == ALWAYS
    assert columns(200) == set(COLUMNS)
    kept = [columns(width) for width in range(80, 200)]
    assert all(fewer <= more for fewer, more in pairwise(kept))
    assert ALWAYS | {"created"} in kept
    assert {*COLUMNS} - {"dialect"} in kept


def test_url_of_an_endpoint_is_shown_as_it_is_beside_its_id_and_state(capsys: pytest.CaptureFixture[str]) -> None:
    """An address in brackets is no markup."""
    endpoint = {
        **{"id": "5d41402abc4b2a76b9719d911017c592", "state": "failing", "url": "http://[fd00::1]:81/[/x]:100:"},
        **{"since": "2026-11-24T20:02:22.123456Z", "reason": "4 tries in a row failed", "breaker": "half-open"},
        **{"failures": 4, "pending": 12, "workspace": ID},
    }
    screen = tables.console()
    screen.print(endpoints.table_of([endpoint], screen))
    (line,) = capsys.readouterr().out.splitlines()[3:-1]
    cells = [cell.strip() for cell in line.split("│")[1:-1]]
    assert {endpoint["id"], "failing", endpoint["url"]} <= set(cells)
