"""Checks results: each record's own, in SQL, in the API and in webhooks, with the pictures that they stand on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.batches import CANCELLED_CODE, CANCELLED_TEXT, Result, Status
from tests.torture.content import Work, picture
from tests.torture.evidence import BatchSeen, Evidence, outputs_of
from tests.torture.plugin.torture_types import output_of
from tests.torture.violations import Violation, Word

GIVEN_UP = 500


@dataclass(frozen=True)
class Told:
    """What is said somewhere about a record. text: of its status; proof: only of a good one."""

    place: int
    code: int
    text: str
    proof: object


def check_results(evidence: Evidence) -> Iterator[Violation]:
    """A DONE batch has the right results in SQL and in the API, and its pictures are there."""
    for posted in evidence.posted:
        for id in dict.fromkeys(posted.ids):
            batch = evidence.batches.get(id)
            if batch is None or batch.status != Status.DONE:
                continue
            results = evidence.results.get(id, ())
            yield from _check_stored(evidence, posted.work, batch, results)
            yield from _check_pictures(evidence, posted.work, batch, results)
            shown = evidence.details.get(id, {}).get("response", {}).get("records", ())
            yield from check_shown(evidence, posted.work, id, batch.run, shown)
            if [record["_status"]["code"] for record in shown] != [result.code for result in results]:
                yield Violation(Word.RESULT_WRONG, id, "the API shows other codes than are stored")


def check_shown(
    evidence: Evidence, work: Work, id: str, run: int, records: Sequence[Mapping[str, Any]]
) -> Iterator[Violation]:
    """Records of a run in Ximilar's format, as the API and the webhook show them."""
    expected = work.expected()
    if [record.get("_id") for record in records] != [work.record_id(place) for place in range(len(expected))]:
        yield Violation(Word.RESULT_WRONG, id, f"not its records are shown: {str(records)[:200]}")
        return
    for place, record in enumerate(records):
        told = Told(place, record["_status"]["code"], record["_status"]["text"], record.get("proof"))
        if not _is_right(evidence, work, id, run, told):
            yield Violation(Word.RESULT_WRONG, id, f"run {run} is shown with {told}")


def _check_stored(evidence: Evidence, work: Work, batch: BatchSeen, results: Sequence[Result]) -> Iterator[Violation]:
    if [result.index for result in results] != list(range(len(work.inputs))):
        yield Violation(Word.RESULT_WRONG, batch.id, f"results of records {[result.index for result in results]}")
        return
    for result in results:
        told = Told(result.index, result.code, result.text, result.facts.get("proof"))
        if not _is_right(evidence, work, batch.id, batch.run, told):
            yield Violation(Word.RESULT_WRONG, batch.id, f"run {batch.run} is stored with {told}")


def _is_right(evidence: Evidence, work: Work, id: str, run: int, told: Told) -> bool:
    right = work.expected()[told.place]
    if told.code == CANCELLED_CODE:
        return told.text == CANCELLED_TEXT and run == 1 and id in evidence.cancelled
    if told.code == GIVEN_UP:
        return right.code == GIVEN_UP or told.place in _blamed(evidence, id)
    return told.code == right.code and right.proof == (told.proof if told.code == 200 else told.text)


def _blamed(evidence: Evidence, id: str) -> frozenset[int]:
    """Innocent records that may have been given up: each crash that was counted against them, announced and alone in
    their worker as they were, was that worker's end or stop by our hand.
    """
    falls = [crash for crash in evidence.crashes_of(id) if crash.suspect is not None]
    unjust = {fall.suspect for fall in falls if fall.worker not in evidence.struck}
    return frozenset(fall.suspect for fall in falls if fall.suspect is not None and fall.suspect not in unjust)


def _check_pictures(evidence: Evidence, work: Work, batch: BatchSeen, results: Sequence[Result]) -> Iterator[Violation]:
    wanted = {key: picture(work.inputs[int(key.rpartition("/")[2])].picture) for key in batch.blobs}
    wanted |= {key: output_of(str(result.facts.get("proof"))) for result in results for key in outputs_of(result)}
    for key, data in wanted.items():
        if key not in evidence.files:
            yield Violation(Word.BLOB_MISSING, batch.id, key)
        elif evidence.files[key].read_bytes() != data:
            yield Violation(Word.BLOB_MISSING, batch.id, f"{key} has other bytes")
    for place, stored in batch.small.items():
        if stored != picture(work.inputs[place].picture):
            yield Violation(Word.BLOB_MISSING, batch.id, f"the small picture of record {place} is not there")
    sent = sum(not input.by_url for input in work.inputs)
    if len(batch.blobs) + len(batch.small) != sent:
        yield Violation(Word.BLOB_MISSING, batch.id, f"{sent} pictures were sent along")
