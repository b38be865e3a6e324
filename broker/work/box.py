"""What a running handler may ask of the broker."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from pydantic import BaseModel

from broker.work.clock import Clock
from broker.work.references import Paths, References
from handlers.contract import Facts, Record, RecordError, Ref

log = structlog.get_logger()

RunInside: TypeAlias = "Callable[[RecordBox, str, str, bytes, Mapping[str, Any]], Awaitable[Facts]]"
"""(outer box, type, endpoint, image, parameters) -> what that type's handler finds out."""


@dataclass(slots=True)
class RecordBox:
    """The `Box` of one record, or of one handler that runs inside another one's record.

    room: where the worker's temporary files are. clock: of the handler that has this box, once it is called.
    """

    batch: str
    record: Record
    references: References
    run_inside: RunInside
    room: Path
    outer: RecordBox | None = None
    clock: Clock | None = None
    _number: int = field(init=False, default_factory=count(1).__next__)
    _has_folder: bool = False
    _over: bool = False
    _inner: list[RecordBox] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where this record's temporary files are, once somebody asked for that; most never do."""
        self._has_folder = True
        return self.room / str(self._number)

    @property
    def cancelled(self) -> bool:
        return self._over or (self.outer is not None and self.outer.cancelled)

    @property
    def scratch(self) -> Path:
        if self.cancelled:  # what is made now would never be removed
            raise RecordError(499, "cancelled")
        folder = self.folder
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def progress(self, fraction: float) -> None:
        log.debug("record.progress", batch=self.batch, record=self.record.id, fraction=round(fraction, 2))

    def document(self, ref: Ref) -> BaseModel:
        return self.references.documents[ref.kind, ref.id]

    def snapshot(self, kind: str, id: str) -> Path:
        return self.references.snapshots[kind, id]

    async def run(self, type: str, endpoint: str, image: bytes, params: Mapping[str, Any]) -> Facts:
        """Another type's handler inside this record, in the same worker. Raises RecordError for what does not exist."""
        return await self.run_inside(self, type, endpoint, image, params)

    def inner(self, image: bytes, snapshots: Paths) -> RecordBox:
        """The box of a handler that runs inside this record. What it makes is kept until this box is closed."""
        record = Record(self.record.index, self.record.id, image, self.record.fields)
        references = replace(self.references, snapshots=snapshots)
        box = RecordBox(self.batch, record, references, self.run_inside, self.room, outer=self)
        self._inner.append(box)
        return box

    def end(self) -> None:
        """Tell the handler, if it still runs, that its result is no longer wanted."""
        self._over = True

    def close(self) -> None:
        """End, and remove the temporary files."""
        self.end()
        for inner in self._inner:
            inner.close()
        if self._has_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
