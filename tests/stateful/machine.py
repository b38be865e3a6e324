"""The state machine: steps of any kind in any order, one at a time and several at once, each checked in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, ClassVar, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker.deliveries import DueDelivery
from broker.errors import Unavailable
from broker.store.attempts import Report
from broker.store.leases import Lease
from tests.stateful.accepting import Accepting
from tests.stateful.board import Board
from tests.stateful.intents import INTENT, Intent, instead
from tests.stateful.invariants import check_state, check_step
from tests.stateful.promise import DAY, HOUR, MINUTE, Act, Broken, differences
from tests.stateful.scene import Pick, Scene
from tests.stateful.world import World

Done: TypeAlias = Sequence[tuple[Act[Any, Any], Any]]
SPANS = (*[0] * 12, 3000, 41 * MINUTE, 71 * MINUTE, 71 * MINUTE, 25 * HOUR, 40 * DAY)
"""In ms; longer than a worker's patience, half a lease, a lease, the life of keys and pictures, that of batches."""


class BatchMachine(RuleBasedStateMachine):
    """One example: a database that is empty at first. No rule depends on what it finds there."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.scene = Scene(self.world.read(), self.world.workspaces)
        self.history: list[Done] = []

    @initialize(intents=st.lists(st.from_type(Accepting), min_size=1, max_size=3))
    def begin(self, intents: Sequence[Accepting]) -> None:
        self._do([self._act(intent) for intent in intents], apart=False)

    @rule(
        ms=st.sampled_from(SPANS),
        intents=st.lists(INTENT, min_size=1, max_size=4),
        apart=st.booleans(),
        family=st.none() | st.from_type(Pick),
    )
    def step(self, ms: int, intents: Sequence[Intent], apart: bool, family: int | None) -> None:
        """Let time pass, then do all of it at once, in one process or apart in two, maybe all to one family."""
        if ms:
            self.world.pass_time(ms)
            self.scene.board = self.world.read()
        self.scene.board = replace(self.scene.board, crowded=self.world.skips_locked and apart and len(intents) > 1)
        self.scene.gather(family)
        self._do(one_of_each_lease([self._act(intent) for intent in intents]), apart=apart)

    def _act(self, intent: Intent) -> Act[Any, Any]:
        act = intent.act(self.scene)
        anywhere = replace(self.scene, family=None)
        while act is None:
            intent = instead(intent, anywhere)
            act = intent.act(anywhere)
        return act

    def _do(self, acts: Sequence[Act[Any, Any]], *, apart: bool) -> None:
        """Look whether the answers, and the database, are as they were promised to be."""
        answers = self.world.do(acts, apart=apart)
        after = self.world.read()
        before = replace(self.scene.board, then=after)
        done = [(act, answer) for act, answer in zip(acts, answers, strict=True) if not isinstance(answer, Unavailable)]
        self.history.append(done)
        try:
            check_kept(before, done, after)
            check_step(before, after, acts)
            check_state(after)
        except Broken as broken:
            broken.add_note("\n".join(map(tell, self.history)))
            raise
        for act, answer in done:
            act.told(answer)
        self.scene.board = after


def one_of_each_lease(acts: Sequence[Act[Any, Any]]) -> list[Act[Any, Any]]:
    """Without what a worker would not do: two things about one batch or try at a time, its beats apart."""
    used: set[Lease] = set()
    kept = []
    for act in acts:
        lease = lease_of(act.item)
        if lease not in used:
            kept.append(act)
        used |= {lease} if lease else set()
    return kept


def lease_of(item: Any) -> Lease | None:
    """The claim that an item is about."""
    match item:
        case Report():
            return Lease(item.result.delivery, item.result.lease_seq)
        case DueDelivery():
            return Lease(item.id, item.lease_seq)
    lease: Lease | None = getattr(item, "lease", None)
    return lease


def tell(done: Done) -> str:
    """What was done at once, and the answers."""
    return "\n".join(["at once:", *[f"  {act}\n    -> {answer!r}" for act, answer in done]])


def check_kept(before: Board, done: Done, after: Board) -> None:
    """Raises Broken unless answers and the new state are those of some order of these acts, one after the other."""
    problems = []
    for order in permutations(done):
        try:
            board = before
            for act, answer in order:
                board = act.promise(board, act.item, answer)
        except Broken as broken:
            problems.append([str(broken)])
            continue
        problems.append(list(differences(board, after)))
        if not problems[-1]:
            return
    raise Broken("\n".join(["no order explains what was done", tell(done), "since", *min(problems, key=len)]))
