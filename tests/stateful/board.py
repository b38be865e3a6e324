"""All rows of a database that work on batches can change, as one frozen value that promises are made about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Table, select, true

from broker.batches import Status
from broker.deliveries import State
from broker.endpoints import Condition
from broker.store.clock import db_now
from broker.store.endpoints import condition_of
from broker.store.leases import Lease
from broker.store.tables import (
    AttemptRow,
    BatchRow,
    ChoreRow,
    DeliveryRow,
    EndpointRow,
    ResultRow,
    WorkspaceRow,
    table,
)
from tests.tallied import Kind, miscounted

T = TypeVar("T", bound="StoredRow")


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A row of `batches`, without the columns that are written once and only shown."""

    id: str
    workspace_id: str
    type: str
    records: str
    size: int
    webhook: bytes | None
    status: str
    outcome: str | None
    run: int
    rank: int
    due: int
    lease_seq: int
    lease_owner: str | None
    lease_until: int | None
    crashes: int
    doubts: int
    suspect: int | None
    combined: str | None
    parent_id: str | None
    ordinal: int | None
    pending: int | None
    cursor: str | None
    idempotency_key: str | None
    body_hash: bytes | None
    inputs_expired: int | None
    outputs_expired: int | None
    created: int
    modified: int
    finished: int | None

    @property
    def key(self) -> str:
        return self.id

    @property
    def place(self) -> tuple[int, str]:
        """What claims order by."""
        return (self.rank, self.id)


@dataclass(frozen=True, slots=True)
class StoredResult:
    batch_id: str
    position: int
    run: int
    lease_seq: int
    code: int
    text: str
    request_id: str
    finished: int

    @property
    def key(self) -> tuple[str, int]:
        return (self.batch_id, self.position)

    @property
    def ok(self) -> bool:
        return 200 <= self.code < 300


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    id: str
    batch_id: str | None
    run: int
    event: str
    endpoint: str
    body: bytes
    state: str
    attempts: int
    step: int
    hurried: bool
    manual: bool
    due: int | None
    held: int | None
    scheduled: int | None
    lease_seq: int
    created: int
    finished: int | None

    @property
    def key(self) -> str:
        return self.id

    @property
    def owed(self) -> bool:
        """A try follows."""
        return self.state == State.PENDING or self.manual


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    id: str
    workspace_id: str
    origin: str
    condition: Condition
    holding: bool
    created: int

    @property
    def key(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    delivery_id: str
    number: int
    manual: bool
    started: int
    duration_ms: int | None
    status_code: int | None

    @property
    def key(self) -> tuple[str, int]:
        return (self.delivery_id, self.number)


StoredRow: TypeAlias = StoredBatch | StoredResult | StoredDelivery | StoredEndpoint | StoredAttempt


@dataclass(frozen=True, slots=True)
class Board:
    """A state of the database at `now`, in ms of `db_now()`; tables by their keys.

    cursors: of chores. paused: workspaces. miscounted: where the tallies of batches are wrong. then: what the step that
    begins here came to, for what an operation may do or leave without telling. crowded: others hold locks meanwhile, so
    that whoever claims may pass over any row.
    """

    now: int
    batches: dict[str, StoredBatch]
    results: dict[tuple[str, int], StoredResult]
    deliveries: dict[str, StoredDelivery]
    endpoints: dict[str, StoredEndpoint]
    attempts: dict[tuple[str, int], StoredAttempt]
    cursors: dict[str, str | None]
    paused: frozenset[str]
    miscounted: dict[Kind, dict[str, int]]
    then: Board | None = None
    crowded: bool = False

    @property
    def until(self) -> int:
        """When the step that begins here was over."""
        return self.then.now if self.then else self.now

    def put(self, *rows: StoredRow) -> Board:
        """With these rows instead of those with their keys, or beside the others."""
        batches, results = dict(self.batches), dict(self.results)
        deliveries, attempts = dict(self.deliveries), dict(self.attempts)
        endpoints = dict(self.endpoints)
        for row in rows:
            match row:
                case StoredBatch():
                    batches[row.key] = row
                case StoredResult():
                    results[row.key] = row
                case StoredDelivery():
                    deliveries[row.key] = row
                case StoredEndpoint():
                    endpoints[row.key] = row
                case StoredAttempt():
                    attempts[row.key] = row
        return replace(
            self, batches=batches, results=results, deliveries=deliveries, endpoints=endpoints, attempts=attempts
        )

    def without_results(self, batch: str, places: list[int]) -> Board:
        gone = {(batch, place) for place in places}
        return replace(self, results={key: row for key, row in self.results.items() if key not in gone})

    def without(self, ids: set[str]) -> Board:
        """Without these batches and all that hangs on them."""
        deliveries = {key: row for key, row in self.deliveries.items() if row.batch_id not in ids}
        return replace(
            self,
            batches={key: row for key, row in self.batches.items() if key not in ids},
            results={key: row for key, row in self.results.items() if row.batch_id not in ids},
            deliveries=deliveries,
            attempts={key: row for key, row in self.attempts.items() if row.delivery_id in deliveries},
        )

    def without_attempt(self, delivery: str, number: int) -> Board:
        return replace(self, attempts={key: row for key, row in self.attempts.items() if key != (delivery, number)})

    def holder(self, lease: Lease) -> StoredBatch | None:
        """The batch that a lease still is the right to write about. One that waits for its children has no holder."""
        batch = self.batches.get(lease.batch)
        if batch is None or (batch.status, batch.lease_seq) != (Status.PROCESSING, lease.seq):
            return None
        return batch if batch.lease_owner is not None else None

    def awaits(self, delivery: str, seq: int) -> bool:
        """Whether what a try of a delivery brought still moves it."""
        row = self.deliveries.get(delivery)
        return row is not None and row.owed and row.lease_seq == seq

    def results_of(self, batch: str) -> dict[int, StoredResult]:
        """By place, in their order."""
        return {row.position: row for _, row in sorted(self.results.items()) if row.batch_id == batch}

    def children_of(self, batch: str) -> list[StoredBatch]:
        children = [row for row in self.batches.values() if row.parent_id == batch]
        return sorted(children, key=lambda child: child.ordinal or 0)

    def deliveries_of(self, batch: str) -> list[StoredDelivery]:
        """In the order of runs."""
        return sorted((row for row in self.deliveries.values() if row.batch_id == batch), key=lambda row: row.run)

    def due_deliveries(self) -> list[StoredDelivery]:
        """The longest due first."""
        due = [row for row in self.deliveries.values() if row.owed and row.due is not None and row.due <= self.now]
        return sorted(due, key=lambda row: (row.due or 0, row.id))

    def held_deliveries(self, endpoint: str) -> list[StoredDelivery]:
        """What is held back of an endpoint, the longest due first."""
        held = [row for row in self.deliveries.values() if row.owed and row.held is not None]
        return sorted((row for row in held if row.endpoint == endpoint), key=lambda row: (row.held or 0, row.id))


_workspaces, _chores = table(WorkspaceRow), table(ChoreRow)
_ENDPOINTS = select(table(EndpointRow))
_FRAME = select(
    db_now().label("now"), _chores.c.name, _chores.c.cursor, _workspaces.c.id, _workspaces.c.paused
).select_from(_chores.join(_workspaces, true()))


def read_boards(connection: Connection, items: Sequence[None]) -> list[Board]:
    """What stands in the database now; asked of its writer, as that costs one call instead of one a statement."""
    return [_read_board(connection) for _ in items]


def _read_board(connection: Connection) -> Board:
    frame = connection.execute(_FRAME).all()
    return Board(
        now=frame[0].now,
        batches={row.key: row for row in _read(connection, StoredBatch, table(BatchRow))},
        results={row.key: row for row in _read(connection, StoredResult, table(ResultRow))},
        deliveries={row.key: row for row in _read(connection, StoredDelivery, table(DeliveryRow))},
        endpoints={row.id: _endpoint(row) for row in connection.execute(_ENDPOINTS)},
        attempts={row.key: row for row in _read(connection, StoredAttempt, table(AttemptRow))},
        cursors={row.name: row.cursor for row in frame},
        paused=frozenset(row.id for row in frame if row.paused),
        miscounted=miscounted(connection),
    )


def _read(connection: Connection, kind: type[T], rows: Table) -> list[T]:
    columns: Any = [rows.c[field.name] for field in fields(kind)]
    return [kind(*row) for row in connection.execute(select(*columns))]


def _endpoint(row: Any) -> StoredEndpoint:
    return StoredEndpoint(row.id, row.workspace_id, row.origin, condition_of(row), row.holding, row.created)
