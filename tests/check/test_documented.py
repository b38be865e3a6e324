"""`.env.example` and the README name exactly the settings that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.settings import Settings, load
from tests.check.env_example import FILE, PREFIX, default_of, render

README = Path(__file__).parents[2] / "README.md"
NAMES = {PREFIX + name.upper() for name in Settings.model_fields}


def test_the_example_tells_every_setting_with_its_description_and_default() -> None:
    assert FILE.read_text() == render(), "run: python tests/check/env_example.py"


def test_the_example_names_each_setting_once() -> None:
    told = re.findall(rf"^#?({PREFIX}\w+)=", FILE.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(NAMES)


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_default_that_the_example_tells_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load()
    monkeypatch.setenv(PREFIX + name.upper(), default_of(name))
    assert load() == defaults


def test_the_readme_has_a_table_of_all_settings() -> None:
    rows = set(re.findall(rf"^\|\s*`({PREFIX}[A-Z_]+)`", README.read_text(), re.MULTILINE))
    missing, unknown = sorted(NAMES - rows), sorted(rows - NAMES)
    assert not missing, f"README.md's table of settings lacks {', '.join(missing)}"
    assert not unknown, f"README.md's table of settings tells of {', '.join(unknown)}, which do not exist"
