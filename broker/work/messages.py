"""What a worker and the process of an isolated type say to each other, as pickles over pipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from broker.work.references import References
from handlers.contract import Config, Facts, Params, Record


@dataclass(frozen=True, slots=True)
class Start:
    """The first message: where the worker finds modules, and the type to set up."""

    path: Sequence[str]
    type: str
    config: Config


@dataclass(frozen=True, slots=True)
class RunRecord:
    """scratch: the folder that the record's box makes when it is asked for one."""

    number: int
    record: Record
    params: Params
    references: References
    scratch: Path


@dataclass(frozen=True, slots=True)
class Combine:
    number: int
    facts: Sequence[Facts]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The task of this number is no longer wanted. Has a pipe of its own, to arrive during the task."""

    number: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The type is set up."""

    combines: bool


@dataclass(frozen=True, slots=True)
class Progress:
    fraction: float


@dataclass(frozen=True, slots=True)
class Done:
    facts: Facts


@dataclass(frozen=True, slots=True)
class Refused:
    """A RecordError."""

    code: Any
    text: Any


@dataclass(frozen=True, slots=True)
class MayPass:
    """A RetryableError, OSError or MemoryError."""

    traceback: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """Any other exception."""

    traceback: str


Task: TypeAlias = RunRecord | Combine
Answer: TypeAlias = Done | Refused | MayPass | Crashed
