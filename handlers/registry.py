"""Which types exist: every entry point of the group `broker.handlers`, read once, light halves only."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from handlers.contract import Handler, Spec

GROUP = "broker.handlers"


class DuplicateType(Exception):
    """Two installed packages bring the same type; which one would win is a matter of chance, so neither does."""


class Registry(Mapping[str, Spec]):
    """type -> Spec, in alphabetical order."""

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self._specs = dict(sorted(specs.items()))

    def __getitem__(self, type: str) -> Spec:
        return self._specs[type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    @classmethod
    def installed(cls) -> Registry:
        """Every type of every installed package. Raises DuplicateType, and what a broken plugin's import raises."""
        specs: dict[str, Spec] = {}
        for entry in _entries(tuple(sys.path)):
            spec = entry.load()
            if not isinstance(spec, Spec):
                raise TypeError(f"entry point {entry.name} = {entry.value} is not a handlers.contract.Spec")
            if spec.type in specs:
                raise DuplicateType(f"type {spec.type!r} is installed twice; the second is {entry.value}")
            specs[spec.type] = spec
        return cls(specs)


@cache
def _entries(paths: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Those of all packages on `paths`, which is `sys.path`: read once, as it takes longer the more are installed."""
    return tuple(entry_points(group=GROUP))


def load_handler(spec: Spec) -> Handler:
    """Import and build the heavy half of a type. For worker processes only."""
    module, _, name = spec.handler.partition(":")
    handler: Handler = getattr(import_module(module), name)()
    return handler
