"""The fixture of the checker's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.evidence import Evidence
from tests.torture.sound import sound_evidence


@pytest.fixture
def sound(tmp_path: Path) -> Evidence:
    """The evidence of one batch that went well."""
    return sound_evidence(tmp_path)
