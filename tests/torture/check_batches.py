"""Checks what was accepted against what is there: every batch DONE, none too many, all with the right results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from broker.batches import Result, Status
from tests.torture.content import Expected, Work, picture
from tests.torture.evidence import BatchSeen, Evidence, outputs_of
from tests.torture.plugin.torture_types import output_of
from tests.torture.violations import Violation, Word

GIVEN_UP = 500


def check_accepted(evidence: Evidence) -> Iterator[Violation]:
    """Every accepted POST is there, once, and DONE; no other batch is."""
    for posted in evidence.posted:
        number = f"batch number {posted.work.number}"
        for refusal in posted.refusals:
            yield Violation(Word.REFUSED, number, refusal)
        if len(set(posted.ids)) > 1:
            yield Violation(Word.PHANTOM, number, f"one key was answered with several ids: {', '.join(posted.ids)}")
        for id in dict.fromkeys(posted.ids):
            batch = evidence.batches.get(id)
            if batch is None:
                yield Violation(Word.NEVER_COMMITTED, id, f"{number} was accepted")
            elif batch.status != Status.DONE:
                yield Violation(Word.LOST, id, f"{number} is {batch.status}")
    yield from _check_phantoms(evidence)


def _check_phantoms(evidence: Evidence) -> Iterator[Violation]:
    known = {posted.work.number for posted in evidence.posted}
    of_number: defaultdict[int | None, list[BatchSeen]] = defaultdict(list)
    for batch in evidence.batches.values():
        of_number[batch.number].append(batch)
    for number, batches in of_number.items():
        if number not in known:
            yield from (Violation(Word.PHANTOM, batch.id, "nobody posted it") for batch in batches)
        elif len(batches) > 1:
            yield Violation(Word.PHANTOM, batches[0].id, f"number {number} has {len(batches)} batches")


def check_results(evidence: Evidence) -> Iterator[Violation]:
    """A DONE batch has the right results in SQL and in the API, and its blobs are there."""
    for posted in evidence.posted:
        for id in dict.fromkeys(posted.ids):
            batch = evidence.batches.get(id)
            if batch is None or batch.status != Status.DONE:
                continue
            blamed = blamed_records(evidence, id)
            results = evidence.results.get(id, ())
            yield from _check_results(posted.work, batch, results, blamed)
            yield from _check_blobs(evidence, posted.work, batch, results)
            yield from check_shown(Word.RESULT_WRONG, id, posted.work, shown_by_api(evidence, id), blamed)


def shown_by_api(evidence: Evidence, id: str) -> Sequence[Mapping[str, Any]]:
    """The records of a DONE batch as the API shows them; none when it does not."""
    records: Sequence[Mapping[str, Any]] = evidence.details.get(id, {}).get("response", {}).get("records", ())
    return records


def check_shown(
    word: Word, subject: str, work: Work, records: Sequence[Mapping[str, Any]], blamed: frozenset[int]
) -> Iterator[Violation]:
    """Records in Ximilar's format, as the API and the webhook show them."""
    expected = work.expected()
    if [record.get("_id") for record in records] != [work.record_id(place) for place in range(len(expected))]:
        yield Violation(word, subject, f"not its records are shown: {str(records)[:200]}")
        return
    for place, (record, right) in enumerate(zip(records, expected, strict=True)):
        status = record["_status"]
        if not _is_right(status["code"], status["text"], record.get("proof"), right, place in blamed):
            yield Violation(word, subject, f"record {place} is shown as {status}, proof {record.get('proof')}")


def _check_results(
    work: Work, batch: BatchSeen, results: Sequence[Result], blamed: frozenset[int]
) -> Iterator[Violation]:
    expected = work.expected()
    if [result.index for result in results] != list(range(len(expected))):
        yield Violation(Word.RESULT_WRONG, batch.id, f"results of records {[result.index for result in results]}")
        return
    for result, right in zip(results, expected, strict=True):
        if not _is_right(result.code, result.text, result.facts.get("proof"), right, result.index in blamed):
            yield Violation(Word.RESULT_WRONG, batch.id, f"record {result.index}: {result.code} {result.text}")


def _is_right(code: int, text: str, proof: object, right: Expected, blamed: bool) -> bool:
    if code == right.code == 200:
        return proof == right.proof
    if code == right.code and code != GIVEN_UP:
        return text == right.proof
    return code == GIVEN_UP and (right.code == GIVEN_UP or blamed)


def blamed_records(evidence: Evidence, id: str) -> frozenset[int]:
    """Innocent records that may have been given up: announced, alone in a worker, when a fault took it down."""
    moves = [line for line in evidence.lines.get(id, []) if line.what == "batch"]
    return frozenset(
        line.suspect
        for before, line in pairwise(moves)
        if line.suspect is not None
        and (line.crashes or 0) > (before.crashes or 0)
        and evidence.disturbed(before.at, line.at)
    )


def _check_blobs(evidence: Evidence, work: Work, batch: BatchSeen, results: Sequence[Result]) -> Iterator[Violation]:
    wanted = {key: picture(work.inputs[int(key.rpartition("/")[2])].picture) for key in batch.blobs}
    wanted |= {key: output_of(str(result.facts.get("proof"))) for result in results for key in outputs_of(result)}
    for key, data in wanted.items():
        if key not in evidence.files:
            yield Violation(Word.BLOB_MISSING, batch.id, key)
        elif evidence.files[key].read_bytes() != data:
            yield Violation(Word.BLOB_MISSING, batch.id, f"{key} has other bytes")
