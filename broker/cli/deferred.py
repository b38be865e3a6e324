"""Commands that can be listed at once: the module of each is imported when it is called."""

from __future__ import annotations

import gc
import os
import signal
from importlib import import_module
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_group


class Deferred(TyperCommand):
    """Stands for the command at `place`, a `module:name` of a function or of a `typer.Typer` with commands of its own.

    summary: what the list of commands says of it; the beginning of the command's own help. service: it ends in good
    order when it is told to, from here on: it has nothing to give back before its libraries are loaded.
    """

    def __init__(self, name: str, place: str, summary: str, *, service: bool = False) -> None:
        super().__init__(name, short_help=summary)
        self.place = place
        self.service = service

    def load(self) -> Any:
        """Import the command; of whichever class typer makes it."""
        module, _, name = self.place.partition(":")
        found = getattr(_imported(module), name)
        if isinstance(found, typer.Typer):
            return get_group(found)
        single = typer.Typer(add_completion=False)
        single.command(self.name)(found)
        return get_command(single)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The real command's own: it parses its arguments and is invoked."""
        if self.service:
            # Without a handler, the first process of a container would not hear it at all.
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        return self.load().make_context(info_name, args, parent, **extra)


def _imported(name: str) -> ModuleType:
    """Without collections meanwhile, a tenth of the time: all that an import makes is there to stay."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.enable()
