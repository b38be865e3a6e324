"""What a handler is: the light description a web process reads and the heavy code a worker runs.

A type of image work is two things in two files. `params.py` holds a `Spec`: its name, its endpoints and their
parameters. It imports nothing heavy, because every web process loads it. `handler.py` holds a class that follows
`Handler`: it is loaded by its import path, once, in worker processes only.

A package of another party adds a type with one entry point in the group `broker.handlers`, whose value is the import
path of its `Spec`. See `tests/plugin_example/` for a complete one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Facts: TypeAlias = dict[str, Any]
"""What a handler found out about one record: JSON values, with an `Output` wherever a URL shall stand."""


class Params(BaseModel):
    """Base of an endpoint's parameters. A key that is not a field is kept by the broker and ignored here."""

    model_config = ConfigDict(extra="ignore", frozen=True)


ParamsClass: TypeAlias = type[Params]
DocumentClass: TypeAlias = type[BaseModel]
FieldsClass: TypeAlias = type[BaseModel]


class RecordError(Exception):
    """A final answer about one record: `code` like an HTTP status (400..599), `text` for the customer to read."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class SetupError(Exception):
    """What the operator has to mend, in words for the operator; raised by `setup`, and the worker does not start."""


class RetryableError(Exception):
    """The record may succeed if it is tried again. Tried `MAX_TRIES` times, like OSError and MemoryError."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a handler made. The broker stores it and puts a link in its place.

    `data` is the bytes or the path of a file inside `Box.scratch`; `name` is a plain file name with its extension.
    """

    data: bytes | Path
    media_type: str
    name: str


@dataclass(frozen=True, slots=True)
class Record:
    """One input: its place in the batch, its id, the encoded image, and the customer's own keys."""

    index: int
    id: str
    image: bytes
    fields: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ref:
    """What parameters refer to: a stored document, or a collection of items, by `kind` told from each other.

    version: of a document, from 1; None is the newest. The broker pins it at accept, so that a batch keeps what it
    began with. param: names the parameter, for the customer's error message. A collection need not exist.
    """

    kind: str
    id: str
    version: int | None = None
    param: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """What a worker process tells a handler once, at `setup`.

    models_dir: folder of model files. threads: CPU threads one record may use.
    max_image_bytes, max_image_pixels: caps on an input. max_output_pixels: cap on a picture a handler makes.
    """

    models_dir: Path
    threads: int
    max_image_bytes: int
    max_image_pixels: int
    max_output_pixels: int


class Box(Protocol):
    """What a running record may ask of the broker."""

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted. Long work looks at it and raises RecordError(499, "cancelled")."""

    @property
    def scratch(self) -> Path:
        """An empty folder for this record's temporary files; removed when the record ends."""

    def progress(self, fraction: float) -> None:
        """Say how much of this record is done, 0..1."""

    def document(self, ref: Ref) -> BaseModel:
        """A document that the batch's parameters refer to, in the version pinned at accept. Raises KeyError."""

    def snapshot(self, kind: str, id: str) -> Path:
        """A collection of items that the parameters refer to, in the state it is in when a worker takes the batch.

        For a handler that runs inside another one: when it is called. A batch taken again may see a later state.

        A local SQLite file with the table `items(id TEXT PRIMARY KEY, fields TEXT)`, `fields` as JSON; empty for a
        collection that does not exist. It never changes, is removed some time after the run, and the next state of the
        collection has another path; open it with `file:{path}?mode=ro&immutable=1`. Raises KeyError.
        """

    def run(self, type: str, endpoint: str, image: bytes, params: Mapping[str, JSON]) -> Awaitable[Facts]:
        """Run another type's handler over an image inside this record. Raises what that handler raises.

        Raises RuntimeError in a handler that is isolated.
        """


class Handler(Protocol):
    """The heavy half of a type. One instance a worker process; `run` is called from several threads at once.

    `run` is `def` (it gets a CPU thread) or `async def` (it only orchestrates, on the event loop). It returns the
    record's facts, or raises `RecordError` (final), `RetryableError`, OSError or MemoryError (tried again). Anything
    else is a 500 for that record, with an error id that the log explains.

    `setup` raises `SetupError` where this machine or its settings are not as the handler needs them.

    A handler may also have `combine(self, facts: Sequence[Facts]) -> Facts`, called once after the last record.
    """

    def setup(self, config: Config) -> None: ...

    def run(self, record: Record, params: Any, box: Box) -> Facts | Awaitable[Facts]: ...


class Combining(Protocol):
    """A handler that also says something about all records of a batch together."""

    def combine(self, facts: Sequence[Facts]) -> Facts: ...


def _no_references(_params: Any) -> Sequence[Ref]:
    return ()


@dataclass(frozen=True, slots=True)
class Spec:
    """The light half of a type.

    endpoints: name -> parameters. default_endpoint: the one a batch without `endpoint` gets.
    handler: import path of the class, `package.module:Class`. time_limit: seconds one record may take.
    summary: one sentence for the API's pages.
    documents: kind -> model of the documents that the broker stores, versions and validates for this type.
    items: kind -> model of the fields of the items that the broker keeps in named collections for this type.
    references: checked parameters -> the documents and the collections of items they refer to.
    isolate: run the handler in a process of its own, which is killed at the time limit and may crash without harm to
        others. For code that cannot be interrupted or trusted to stay alive. Such a handler cannot use `Box.run`, and
        what goes in and comes out is pickled: parameters and documents are of classes at the top level of a module.
        Without it, a handler that goes on after its time limit, be it in a thread of `asyncio.to_thread`, makes the
        worker start anew, and one that holds the event loop or Python's global lock, as a regular expression may, ends
        it, which counts as a crash.
    """

    type: str
    endpoints: Mapping[str, ParamsClass]
    default_endpoint: str
    handler: str
    summary: str
    time_limit: float = 300.0
    documents: Mapping[str, DocumentClass] = field(default_factory=dict)
    items: Mapping[str, FieldsClass] = field(default_factory=dict)
    references: Callable[[Any], Sequence[Ref]] = _no_references
    isolate: bool = False

    def __post_init__(self) -> None:
        if self.default_endpoint not in self.endpoints:
            raise ValueError(f"{self.type}: the default endpoint {self.default_endpoint!r} is not an endpoint")
        if both := self.documents.keys() & self.items.keys():
            raise ValueError(f"{self.type}: {', '.join(sorted(both))} is a kind of documents and of items")
