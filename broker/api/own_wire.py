"""The shapes that our own routes answer with, made from what the use cases tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from broker import retry
from broker.batches import Overview, Record, Result
from broker.dialects.ximilar.codec import utc_time
from broker.dialects.ximilar.wire import Time
from broker.webhooks.keys import MAX_OLD, SigningSecret
from broker.webhooks.signing import verifier_of

PAGE_SIZE = 20
MAX_PAGE_SIZE = 200

StatusWord = Literal["CREATED", "PROCESSING", "PAUSED", "DONE"]
OutcomeWord = Literal["succeeded", "partial", "failed", "cancelled"]
SecretKindWord = Literal["v1", "v1a"]
Address = Annotated[str, Field(json_schema_extra={"format": "uri"})]


class Exact(BaseModel):
    """These keys and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Counts(Exact):
    """Of how many records a batch has, how many are finished, and how."""

    records: int = Field(ge=0, description="All records.")
    finished: int = Field(ge=0, description="Those with a result.")
    succeeded: int = Field(ge=0, description="Those with a good result.")
    failed: int = Field(ge=0, description="Those with a bad one.")


class Batch(Exact):
    """How a batch stands, whatever its dialect."""

    id: UUID = Field(description="The batch's id.")
    external_id: str | None = Field(description="Its id in its dialect, where that differs; null elsewhere.")
    workspace: UUID = Field(description="The workspace that it belongs to.")
    dialect: str = Field(description="The wire format that it came in.")
    type: str = Field(description="What shall be done.")
    endpoint: str = Field(description="Which of the type's operations.")
    status: StatusWord = Field(description="Where it stands.")
    outcome: OutcomeWord | None = Field(description="How it ended; null until it is `DONE`.")
    run: int = Field(ge=1, description="1, and one more for every retry.")
    created: Time = Field(description="When it was accepted, in UTC.")
    modified: Time = Field(description="When its status last changed, in UTC.")
    finished: Time | None = Field(description="When it was last `DONE`, in UTC; null before that.")
    counts: Counts = Field(description="How far it is.")

    @classmethod
    def of(cls, overview: Overview) -> Self:
        return cls.model_validate(_values(overview))


class FinishedRecord(Exact):
    """How a record went."""

    index: int = Field(ge=0, description="Its place in the batch, from 0.")
    id: str = Field(description="The record's id: yours, or the one that was made.")
    code: int = Field(ge=200, le=599, description="Like an HTTP status: 200 is good, 4xx and 5xx are not.")
    text: str = Field(description="The same for people.")


class BatchWithRecords(Batch):
    """How a batch stands, with those of its records that are finished."""

    records: list[FinishedRecord] = Field(description="The finished records, in their order.")

    @classmethod
    def with_records(cls, overview: Overview, finished: Sequence[tuple[Record, Result]]) -> Self:
        records = [
            FinishedRecord(index=result.index, id=record.id, code=result.code, text=result.text)
            for record, result in finished
        ]
        return cls.model_validate({**_values(overview), "records": records})


class Page(Exact):
    """A page of a list."""

    count: int = Field(ge=0, description="How many there are on all pages.")
    next: Address | None = Field(description="Address of the next page; null on the last one.")
    previous: Address | None = Field(description="Address of the page before; null on the first one.")


class BatchPage(Page):
    """A page of batches, newest first."""

    results: list[Batch] = Field(max_length=MAX_PAGE_SIZE, description="The batches of this page.")


class Refused(Exact):
    """One of many with which nothing was done."""

    id: UUID = Field(description="Its id.")
    reason: str = Field(description="Why not, for people.")


class Retried(Exact):
    """What a retry of many batches did."""

    retried: int = Field(ge=0, description="Batches that run again.")
    refused: int = Field(ge=0, description="Batches that cannot: no record to run, or a picture that is gone.")
    refusals: list[Refused] = Field(max_length=retry.NAMED, description="The first of these, with the reason of each.")

    @classmethod
    def of(cls, done: retry.Retried) -> Self:
        refusals = [{"id": id, "reason": reason.value} for id, reason in done.refusals]
        return cls.model_validate({"retried": done.count, "refused": done.refused, "refusals": refusals})


class WorkspaceState(Exact):
    """Whether a workspace's batches are worked on."""

    workspace: UUID = Field(description="The workspace.")
    paused: bool = Field(description="Whether its batches wait.")


class WebhookSecret(Exact):
    """What a receiver verifies webhooks with."""

    kind: SecretKindWord = Field(description="The version before its signatures; `v1`: HMAC, `v1a`: ed25519.")
    secret: str = Field(
        pattern="^(whsec_|whpk_)", description="The shared secret `whsec_…`, or of a key pair its public key `whpk_…`."
    )
    signs_until: Time | None = Field(description="When it stops signing, in UTC; null: not before the next rotation.")


class WebhookSecrets(Exact):
    """The signing secrets of a workspace."""

    workspace: UUID = Field(description="The workspace.")
    secrets: list[WebhookSecret] = Field(
        min_length=1, max_length=MAX_OLD + 1, description="Those in force, the newest first; all of them sign."
    )

    @classmethod
    def of(cls, workspace: str, secrets: Sequence[SigningSecret]) -> Self:
        shown = [
            {
                "kind": one.kind.value,
                "secret": verifier_of(one.secret),
                "signs_until": None if one.until is None else utc_time(one.until),
            }
            for one in secrets
        ]
        return cls.model_validate({"workspace": workspace, "secrets": shown})


def _values(overview: Overview) -> dict[str, object]:
    counts = overview.counts
    return {
        "id": overview.id,
        "external_id": overview.external_id,
        "workspace": overview.workspace,
        "dialect": overview.dialect,
        "type": overview.type,
        "endpoint": overview.endpoint,
        "status": overview.status.value,
        "outcome": overview.outcome and overview.outcome.value,
        "run": overview.run,
        "created": utc_time(overview.created),
        "modified": utc_time(overview.modified),
        "finished": None if overview.finished is None else utc_time(overview.finished),
        "counts": Counts(
            records=counts.records, finished=counts.finished, succeeded=counts.succeeded, failed=counts.failed
        ),
    }
