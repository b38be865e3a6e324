"""The tests that docs/webhooks.md names as its evidence exist, and each promise of its table names some."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGE = (DOCS / "webhooks.md").read_text()
LINK = re.compile(r"\[([^]]+)\]\((\.\./tests/[^)]+\.py)\)")
PROMISES = PAGE.partition("\n## What is promised")[2].partition("\n## ")[0]
PROMISED = (
    *("event", "signature", "vectors", "secret", "schedule", "answers", "busy", "deadline", "answer's size"),
    *("isolation", "breaker", "disabling", "events", "certificates", "your headers", "connections"),
    *("where to", "addresses", "replay", "test ping", "log of tries"),
)


def rows() -> list[tuple[str, str]]:
    """The first cell of each row of the table of promises, and its last cell."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PROMISES.splitlines() if line[:1] == "|"]
    return [(first, last) for first, *_, last in cells[2:]]


def links(text: str) -> Iterator[tuple[str, str]]:
    """The words and the target of each link to a file of tests."""
    yield from LINK.findall(text)


@cache
def functions_in(path: Path) -> frozenset[str]:
    """Names of the test functions at the top of a file, where pytest collects them."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions))


def test_the_page_promises_what_the_checklist_asks_for() -> None:
    assert sorted(first for first, _ in rows()) == sorted(PROMISED)


@pytest.mark.parametrize("promise", PROMISED)
def test_every_promise_names_the_tests_that_show_it(promise: str) -> None:
    assert list(links(dict(rows())[promise]))


@pytest.mark.parametrize(("words", "target"), sorted(set(links(PAGE))))
def test_a_link_to_a_test_says_its_name(words: str, target: str) -> None:
    path = DOCS / target
    if words.strip("`") == target.removeprefix("../"):
        assert path.is_file()
        return
    assert "test_" + re.sub(r"\W+", "_", words.lower()) in functions_in(path.resolve())
