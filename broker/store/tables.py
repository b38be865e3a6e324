"""The tables. SQLModel declares them; statements are written with SQLAlchemy Core on their columns."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlmodel import Field, SQLModel

from broker.store import tally_triggers
from broker.store.columns import SEQUENCE, Id

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
SQLModel.metadata.naming_convention = NAMING


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class InstanceFact(SQLModel, table=True):
    """What holds for the whole installation, e.g. the check value of its secret key."""

    __tablename__ = "instance_facts"

    name: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(sa_type=Text)


class ChoreRow(SQLModel, table=True):
    """Work that one process of the fleet does at a time, e.g. the search for orphaned blobs, and when it is due.

    cursor: how far it has come, for work that goes on where it ended.
    """

    __tablename__ = "chores"

    name: str = Field(primary_key=True, sa_type=Text)
    due: int = Field(sa_type=BigInteger)
    cursor: str | None = Field(default=None, sa_type=Text)


class WorkspaceRow(SQLModel, table=True):
    """A tenant. `secrets` is an encrypted list of webhook signing secrets and until when each signs, newest first."""

    __tablename__ = "workspaces"

    id: str = Field(primary_key=True, sa_type=Id)
    name: str = Field(sa_type=Text, unique=True)
    secrets: bytes = Field(sa_type=LargeBinary)
    paused: bool = False
    allowance: int | None = Field(default=None, sa_type=BigInteger)
    created: int = Field(sa_type=BigInteger)


class TokenRow(SQLModel, table=True):
    """A token, known only by its hash. `hint` is its last four characters, for people to tell tokens apart."""

    __tablename__ = "tokens"

    id: str = Field(primary_key=True, sa_type=Id)
    workspace_id: str = Field(foreign_key="workspaces.id", index=True, sa_type=Id)
    name: str = Field(sa_type=Text)
    hash: str = Field(sa_type=Text, unique=True)
    hint: str = Field(sa_type=Text)
    scopes: str = Field(sa_type=Text)
    created: int = Field(sa_type=BigInteger)
    revoked: int | None = Field(default=None, sa_type=BigInteger)


class TokenGrantRow(SQLModel, table=True):
    """A workspace that a token may use besides its home."""

    __tablename__ = "token_grants"

    token_id: str = Field(foreign_key="tokens.id", primary_key=True, sa_type=Id)
    workspace_id: str = Field(foreign_key="workspaces.id", primary_key=True, sa_type=Id)


class BatchRow(SQLModel, table=True):
    """One accepted POST. `params`, `records`, `pinned` and `extra` are JSON; times are ms of `db_now()`.

    seq: its place in lists, in the order of acceptance.
    rank: what claims order by. due: not claimed before. lease_*: a worker's claim; `lease_seq` is the fencing number.
    crashes, suspect: how many workers it took down, and the record that was announced; doubts: leases of that one which
    ended while nobody watched. combined: what the
    handler says about all records together, JSON. parent_id, ordinal, pending,
    cursor: a parent with children. idempotency_key, body_hash: of its POST. inputs_expired, outputs_expired: since
    when the pictures sent along, and those that handlers made, are no longer kept.
    """

    __tablename__ = "batches"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("status IN ('CREATED', 'PROCESSING', 'PAUSED', 'DONE')", name="status"),
        CheckConstraint("(status = 'DONE') = (outcome IS NOT NULL)", name="outcome"),
        _partial("ix_batches_claim", "type", "rank", "id", where="status = 'CREATED'"),
        _partial("ix_batches_lease", "lease_until", where="status = 'PROCESSING' AND lease_until IS NOT NULL"),
        _partial("uq_batches_external", "external_id", "dialect", where="external_id IS NOT NULL", unique=True),
        _partial("uq_batches_child", "parent_id", "ordinal", where="parent_id IS NOT NULL", unique=True),
        _partial(
            "uq_batches_idempotency",
            "workspace_id",
            "idempotency_key",
            where="idempotency_key IS NOT NULL",
            unique=True,
        ),
        _partial("ix_batches_keyed", "created", where="idempotency_key IS NOT NULL"),
        _partial("ix_batches_crashed", "rank", "id", where="status = 'CREATED' AND crashes > 0"),
        _partial("ix_batches_ended", "finished", "id", where="status = 'DONE'"),
        _partial("ix_batches_complete", "id", where="status = 'PROCESSING' AND pending = 0"),
        _partial("ix_batches_list", "workspace_id", "seq", "dialect", "type", where="parent_id IS NULL"),
    )

    seq: int | None = Field(default=None, primary_key=True, sa_type=SEQUENCE)
    id: str = Field(unique=True, sa_type=Id)
    workspace_id: str = Field(foreign_key="workspaces.id", sa_type=Id)
    dialect: str = Field(sa_type=Text)
    external_id: str | None = Field(default=None, sa_type=Text)
    type: str = Field(sa_type=Text)
    endpoint: str = Field(sa_type=Text)
    params: str = Field(sa_type=Text)
    records: str = Field(sa_type=Text)
    extra: str = Field(sa_type=Text)
    pinned: str = Field(sa_type=Text)
    size: int
    base_url: str = Field(sa_type=Text)
    webhook: bytes | None = Field(default=None, sa_type=LargeBinary)
    status: str = Field(sa_type=Text)
    outcome: str | None = Field(default=None, sa_type=Text)
    run: int
    rank: int = Field(sa_type=BigInteger)
    due: int = Field(sa_type=BigInteger)
    lease_seq: int = Field(sa_type=BigInteger)
    lease_owner: str | None = Field(default=None, sa_type=Text)
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
    crashes: int
    doubts: int
    suspect: int | None = None
    combined: str | None = Field(default=None, sa_type=Text)
    parent_id: str | None = Field(default=None, foreign_key="batches.id", sa_type=Id)
    ordinal: int | None = None
    pending: int | None = None
    cursor: str | None = Field(default=None, sa_type=Text)
    idempotency_key: str | None = Field(default=None, sa_type=Text)
    body_hash: bytes | None = Field(default=None, sa_type=LargeBinary)
    inputs_expired: int | None = Field(default=None, sa_type=BigInteger)
    outputs_expired: int | None = Field(default=None, sa_type=BigInteger)
    created: int = Field(sa_type=BigInteger)
    modified: int = Field(sa_type=BigInteger)
    finished: int | None = Field(default=None, sa_type=BigInteger)


class TallyRow(SQLModel, table=True):
    """How many batches of a kind are in each state, within a stretch of `seq`. Triggers keep it: tally_triggers.py.

    stretch: `seq` without its last STRETCH_BITS bits. child: whether they have parents. part: 0, or the number of a
    change that is not added up yet, whose counts may be less than nothing.
    """

    __tablename__ = "tallies"
    __table_args__: ClassVar[Any] = (
        _partial("ix_tallies_parts", "part", where="part > 0"),
        {"sqlite_with_rowid": False},
    )

    workspace_id: str = Field(primary_key=True, sa_type=Id)
    stretch: int = Field(primary_key=True, sa_type=BigInteger)
    dialect: str = Field(primary_key=True, sa_type=Text)
    type: str = Field(primary_key=True, sa_type=Text)
    child: bool = Field(primary_key=True)
    part: int = Field(primary_key=True, sa_type=BigInteger)
    created: int = Field(sa_type=BigInteger)
    processing: int = Field(sa_type=BigInteger)
    paused: int = Field(sa_type=BigInteger)
    succeeded: int = Field(sa_type=BigInteger)
    partial: int = Field(sa_type=BigInteger)
    failed: int = Field(sa_type=BigInteger)
    cancelled: int = Field(sa_type=BigInteger)


class DocumentRow(SQLModel, table=True):
    """One version of a document of a workspace, e.g. a flow's definition. `body` is JSON; a version never changes."""

    __tablename__ = "documents"

    workspace_id: str = Field(foreign_key="workspaces.id", primary_key=True, sa_type=Id)
    kind: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(primary_key=True)
    body: str = Field(sa_type=Text)
    created: int = Field(sa_type=BigInteger)


class CollectionRow(SQLModel, table=True):
    """A named set of items of a workspace, e.g. a catalogue. `revision` rises with every change of its items."""

    __tablename__ = "collections"

    workspace_id: str = Field(foreign_key="workspaces.id", primary_key=True, sa_type=Id)
    kind: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    revision: int = Field(sa_type=BigInteger)


class ItemRow(SQLModel, table=True):
    """One item of a collection. `fields` is JSON.

    blob: the key of its picture; never one of a batch (`in/…`, `out/…`), which retention removes with the batch.
    revision: the collection's at the item's last change. A removed item stays with neither fields nor blob, so that
    local copies of the collection learn of it.
    """

    __tablename__ = "items"
    __table_args__: ClassVar[Any] = (
        ForeignKeyConstraint(
            ["workspace_id", "kind", "collection"],
            ["collections.workspace_id", "collections.kind", "collections.id"],
        ),
        Index("ix_items_changes", "workspace_id", "kind", "collection", "revision", "id"),
    )

    workspace_id: str = Field(primary_key=True, sa_type=Id)
    kind: str = Field(primary_key=True, sa_type=Text)
    collection: str = Field(primary_key=True, sa_type=Text)
    id: str = Field(primary_key=True, sa_type=Text)
    revision: int = Field(sa_type=BigInteger)
    fields: str | None = Field(default=None, sa_type=Text)
    blob: str | None = Field(default=None, sa_type=Text)


class PictureRow(SQLModel, table=True):
    """A small picture that was sent along with a record; larger ones are blobs."""

    __tablename__ = "pictures"

    batch_id: str = Field(foreign_key="batches.id", primary_key=True, sa_type=Id)
    position: int = Field(primary_key=True)
    data: bytes = Field(sa_type=LargeBinary)


class ResultRow(SQLModel, table=True):
    """What became of one record, written once a run. `facts` is JSON with blob references, never URLs."""

    __tablename__ = "results"

    batch_id: str = Field(foreign_key="batches.id", primary_key=True, sa_type=Id)
    position: int = Field(primary_key=True)
    run: int
    lease_seq: int = Field(sa_type=BigInteger)
    code: int
    text: str = Field(sa_type=Text)
    request_id: str = Field(sa_type=Id)
    facts: str = Field(sa_type=Text)
    finished: int = Field(sa_type=BigInteger)


class EndpointRow(SQLModel, table=True):
    """Where webhooks of a workspace go: one URL without its query, and its health. `place`: that URL in a box.

    since: when `state` began. failures, failing_since: tries that failed since the last answer. recent: JSON of
    [when, failed] of the latest calls; open_until: the circuit breaker. holding: deliveries of it are held back.
    """

    __tablename__ = "endpoints"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("state IN ('healthy', 'failing', 'disabled')", name="state"),
        Index("ix_endpoints_list", "workspace_id", "id"),
        _partial("ix_endpoints_holding", "workspace_id", where="holding = true"),
        _partial("ix_endpoints_ready", "workspace_id", "id", where="holding = true AND open_until IS NULL"),
        _partial(
            "ix_endpoints_broken", "workspace_id", "open_until", where="holding = true AND open_until IS NOT NULL"
        ),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    workspace_id: str = Field(foreign_key="workspaces.id", sa_type=Id)
    origin: str = Field(sa_type=Text)
    place: bytes = Field(sa_type=LargeBinary)
    state: str = Field(sa_type=Text)
    reason: str | None = Field(default=None, sa_type=Text)
    since: int = Field(sa_type=BigInteger)
    failures: int
    failing_since: int | None = Field(default=None, sa_type=BigInteger)
    recent: str = Field(sa_type=Text)
    open_until: int | None = Field(default=None, sa_type=BigInteger)
    holding: bool
    created: int = Field(sa_type=BigInteger)


class DeliveryRow(SQLModel, table=True):
    """A webhook that is owed. `target` is an encrypted box of URL and headers; `body` the exact bytes to send.

    batch_id: None for what the service tells its operator. endpoint: whose health tries share. attempts: rows in
    `attempts`; step: those that counted against the schedule. hurried: the one instant retry after a dead connection is
    used up. manual: a person asked for the try that is due, whatever `state` is. due: not sent before; None when no
    try is owed, or while it is held: it has been due since `held`, but its endpoint takes no more for now. scheduled:
    when the schedule's next try is due, while one that a person asked for goes before it.
    """

    __tablename__ = "deliveries"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("batch_id", "run", "event"),
        CheckConstraint(
            "state IN ('pending', 'delivered', 'exhausted', 'refused', 'superseded', 'stopped')", name="state"
        ),
        CheckConstraint("due IS NULL OR held IS NULL", name="held"),
        CheckConstraint("scheduled IS NULL OR manual", name="scheduled"),
        _partial("ix_deliveries_due", "due", "id", where="due IS NOT NULL"),
        _partial("ix_deliveries_held", "endpoint", "held", "id", where="held IS NOT NULL"),
        _partial("ix_deliveries_asked", "endpoint", "held", "id", where="manual = true AND held IS NOT NULL"),
        _partial("ix_deliveries_owed", "endpoint", where="due IS NOT NULL"),
        _partial("ix_deliveries_told", "created", where="batch_id IS NULL"),
        Index("ix_deliveries_list", "workspace_id", "id"),
        Index("ix_deliveries_endpoint", "endpoint", "id"),
    )

    id: str = Field(primary_key=True, sa_type=Id)
    workspace_id: str = Field(foreign_key="workspaces.id", sa_type=Id)
    batch_id: str | None = Field(default=None, foreign_key="batches.id", sa_type=Id)
    run: int
    event: str = Field(sa_type=Text)
    endpoint: str = Field(foreign_key="endpoints.id", sa_type=Text)
    target: bytes = Field(sa_type=LargeBinary)
    body: bytes = Field(sa_type=LargeBinary)
    state: str = Field(sa_type=Text)
    attempts: int
    step: int
    hurried: bool
    manual: bool
    due: int | None = Field(default=None, sa_type=BigInteger)
    held: int | None = Field(default=None, sa_type=BigInteger)
    scheduled: int | None = Field(default=None, sa_type=BigInteger)
    lease_seq: int = Field(sa_type=BigInteger)
    created: int = Field(sa_type=BigInteger)
    finished: int | None = Field(default=None, sa_type=BigInteger)


class AttemptRow(SQLModel, table=True):
    """One try at sending a delivery; born before the send, completed after it. `manual`: asked for by a person.

    response: the first bytes of the answer, in a box.
    """

    __tablename__ = "attempts"

    delivery_id: str = Field(foreign_key="deliveries.id", primary_key=True, sa_type=Id)
    number: int = Field(primary_key=True)
    manual: bool = False
    started: int = Field(sa_type=BigInteger)
    duration_ms: int | None = None
    status_code: int | None = None
    error: str | None = Field(default=None, sa_type=Text)
    response: bytes | None = None


METADATA = SQLModel.metadata


@event.listens_for(METADATA, "after_create")
def _create_triggers(_metadata: MetaData, connection: Connection, **_options: Any) -> None:
    for statement in tally_triggers.CREATE[connection.dialect.name]:
        connection.exec_driver_sql(statement)


@event.listens_for(METADATA, "after_drop")
def _drop_what_is_left(_metadata: MetaData, connection: Connection, **_options: Any) -> None:
    for statement in tally_triggers.DROP[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def table(model: type[SQLModel]) -> Table:
    """The SQLAlchemy table of a model, whose `.c` the statements use."""
    return METADATA.tables[str(model.__tablename__)]
