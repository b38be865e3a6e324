"""The README's table of a torture run has the rows that a run prints, and a seed decides what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.driver import Injected
from tests.torture.evidence import Evidence
from tests.torture.plan import COMMON, OF_DATABASE, SHORT_SECONDS, SHORT_SEED, Fault, Kind, random_plan
from tests.torture.report import Report

README = Path(__file__).parents[2] / "README.md"
COLUMNS = {"sqlite": 2, "postgresql": 3}


def rows_of(table: str, column: int) -> list[str]:
    """The names of the rows that say something in a column."""
    cells = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()[2:]]
    return sorted(row[1] for row in cells if row[column])


@pytest.mark.parametrize("kind", OF_DATABASE)
def test_the_same_seed_plans_the_same_faults(kind: str) -> None:
    plan = random_plan(7, 60, kind)
    assert plan == random_plan(7, 60, kind)
    assert plan != random_plan(8, 60, kind)
    assert {fault.kind for fault in plan} == {*COMMON, *OF_DATABASE[kind]}


def test_the_short_run_has_every_kind_of_fault_while_there_is_load() -> None:
    faults = [fault for kind in OF_DATABASE for fault in random_plan(SHORT_SEED, SHORT_SECONDS, kind)]
    assert {fault.kind for fault in faults if fault.at < SHORT_SECONDS - 4} == set(Kind)


@pytest.mark.parametrize("kind", OF_DATABASE)
def test_the_readme_has_the_rows_of_the_report(kind: str) -> None:
    faults = [Injected(Fault(0, fault), began=0, ended=0) for fault in (*COMMON, *OF_DATABASE[kind])]
    evidence = Evidence([], {}, {}, [], [], [], injected=faults)
    shown = "| one run |" + README.read_text().partition("\n| one run |")[2].partition("\n\n")[0]
    assert rows_of(shown, COLUMNS[kind]) == rows_of(Report(kind, evidence, []).table(), column=2)
