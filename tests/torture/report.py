"""The table that a run ends with."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from broker.batches import Status
from tests.torture.check_webhooks import by_id, duplicates, was_thanked_late
from tests.torture.evidence import KILLED, RECYCLED, Evidence
from tests.torture.violations import Violation, Word

LOSSES = (Word.NEVER_COMMITTED, Word.LOST, Word.RESULT_WRONG)
DUPLICATES = (Word.EVENT_DUPLICATED, Word.WEBHOOK_UNKNOWN)
SHOWN = 20


@dataclass(frozen=True)
class Report:
    """How a run on one database went."""

    database: str
    evidence: Evidence
    violations: Sequence[Violation]

    @property
    def words(self) -> frozenset[Word]:
        return frozenset(violation.word for violation in self.violations)

    def table(self) -> str:
        """In Markdown, one line a figure."""
        width = max(len(name) for name, _ in self._rows)
        values = max(len(value) for _, value in self._rows)
        lines = [f"| {name:<{width}} | {value:>{values}} |" for name, value in self._rows]
        return "\n".join([lines[0], f"|{'-' * (width + 2)}|{'-' * (values + 1)}:|", *lines[1:]])

    def problems(self) -> str:
        """The first violations of each word."""
        lines = []
        for word in sorted(self.words):
            found = [violation for violation in self.violations if violation.word is word]
            lines += [*map(str, found[:SHOWN]), *([f"{word}: … {len(found)} in all"] if len(found) > SHOWN else [])]
        return "\n".join(lines)

    @property
    def _rows(self) -> list[tuple[str, str]]:
        evidence, words = self.evidence, Counter(violation.word for violation in self.violations)
        faults = Counter(injected.fault.kind for injected in evidence.injected)
        accepted = [evidence.batches[id] for id in evidence.ids.values() if id in evidence.batches]
        unasked = Counter(exit.status for exit in evidence.exits if exit.asked is None and exit.ready)
        return [
            ("", self.database),
            *((f"fault: {kind}", str(count)) for kind, count in sorted(faults.items())),
            ("fault: worker killed by a record", str(unasked[KILLED])),
            ("fault: worker held by a record, and recycled", str(unasked[RECYCLED])),
            ("batches accepted", str(len(evidence.ids))),
            ("batches done", str(sum(batch.status == Status.DONE for batch in accepted))),
            ("records over their time limit", str(_over_time(evidence))),
            ("cancellations granted", str(len(evidence.cancelled))),
            ("retries granted", str(sum(posted.retried for posted in evidence.posted))),
            ("batches lost", str(sum(words[word] for word in LOSSES))),
            ("events duplicated", str(sum(words[word] for word in DUPLICATES))),
            ("webhooks sent", str(len(evidence.arrivals))),
            *self._duplicates(),
            ("stale writes", str(words[Word.STALE_WRITE])),
            ("slowest recovery: until a batch is done again", f"{_longest_pause(evidence):.1f} s"),
            ("slowest recovery: until all accepted before are done", f"{_slowest_recovery(evidence):.1f} s"),
            ("violations", str(len(self.violations))),
        ]

    def _duplicates(self) -> list[tuple[str, str]]:
        """Copies on the wire, by why they were sent."""
        pairs = [pair for copies in by_id(self.evidence.arrivals).values() for pair in duplicates(copies)]
        thanked = sum(copy.mood.thanks for copy, _ in pairs)
        late = sum(was_thanked_late(self.evidence, copy) for copy, _ in pairs)
        return [
            ("duplicate wire sends after a receiver's failure", str(len(pairs) - thanked)),
            ("duplicate wire sends after thanks that came too late", str(late)),
            ("duplicate wire sends after a fault", str(thanked - late)),
        ]


def _over_time(evidence: Evidence) -> int:
    codes = [result.code for results in evidence.results.values() for result in results]
    return codes.count(httpx.codes.GATEWAY_TIMEOUT)


def _longest_pause(evidence: Evidence) -> float:
    """Seconds from the mending of a fault to the first end of a batch after it; under load there always is one."""
    ends = sorted(line.at for line in evidence.history if line.what == "batch" and line.status == Status.DONE)
    mended = [injected.ended for injected in evidence.injected]
    return max((ends[place] - at for at in mended if (place := bisect_right(ends, at)) < len(ends)), default=0) / 1000


def _slowest_recovery(evidence: Evidence) -> float:
    """Seconds from a fault to the end of the last batch accepted before it; without those that harm others or were
    retried, whose ends tell nothing of the fault.
    """
    calm = {number for number, work in evidence.works.items() if not work.harmful}
    ended = [
        (batch.created, batch.finished)
        for batch in evidence.batches.values()
        if batch.number in calm and batch.run == 1 and batch.finished is not None
    ]
    delays = [
        finished - injected.began
        for injected in evidence.injected
        for created, finished in ended
        if created <= injected.began < finished
    ]
    return max(delays, default=0) / 1000
