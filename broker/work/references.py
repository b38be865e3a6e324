"""What the parameters of a batch refer to, as its records find it. Nothing heavy: isolated processes load this too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import BaseModel

Documents: TypeAlias = Mapping[tuple[str, str], BaseModel]
"""(kind, id) -> the document in its pinned version."""
Paths: TypeAlias = Mapping[tuple[str, str], Path]
"""(kind, id) -> a local copy of a collection of items, which nobody changes."""


@dataclass(frozen=True, slots=True)
class References:
    """documents: in the versions pinned at accept. snapshots: of collections, as when a worker took the batch."""

    workspace: str
    documents: Documents
    snapshots: Paths
