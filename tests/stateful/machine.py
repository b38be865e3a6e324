"""The state machine: steps of any kind in any order, one at a time and several at once, each checked in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, ClassVar, Protocol

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker.batches import Status
from broker.errors import Unavailable
from broker.store.claims import Careful
from broker.store.leases import Lease
from tests.stateful.accepting import ENOUGH, Accepting, Forgetting
from tests.stateful.board import Board, StoredBatch
from tests.stateful.claiming import Claiming
from tests.stateful.crashing import Crashing, Rescuing
from tests.stateful.ending import Cancelling, Completing, Finishing
from tests.stateful.invariants import check_state, check_step
from tests.stateful.keeping import Expiring, Pruning
from tests.stateful.listing import Listing
from tests.stateful.moving import Deleting, Holding, Pausing, Resuming, Retrying, may_be_held_back, may_run_again
from tests.stateful.promise import DAY, HOUR, MINUTE, Act, Broken, differences
from tests.stateful.scene import CHILD, FOLDER, PLAIN, TYPES, WORKERS, Pick, Scene, is_plain
from tests.stateful.sending import Sending, Settling
from tests.stateful.working import Announcing, Beating, Checkpointing, GivingBack, Straying
from tests.stateful.world import World

SPANS = (*[0] * 12, 3000, 41 * MINUTE, 71 * MINUTE, 71 * MINUTE, 25 * HOUR, 40 * DAY)
"""In ms; longer than a worker's patience, half a lease, a lease, the life of keys and pictures, that of batches."""


class Intent(Protocol):
    """What somebody means to do; `act` makes it an operation on what there is by then.

    Its fields are drawn whatever there is, so that the same draws make the same example.
    """

    def act(self, scene: Scene) -> Act[Any, Any] | None:
        """None: there is nothing that it could be done to."""


OFTEN: tuple[type[Intent], ...] = (
    *(Accepting, Claiming, Claiming, Checkpointing, Announcing, Announcing, Finishing, Finishing, Crashing, Rescuing),
    *(Cancelling, Retrying, Retrying, Listing, Completing, Pausing, Resuming, Settling),
)
SELDOM: tuple[type[Intent], ...] = (
    *(Beating, GivingBack, GivingBack, Straying, Holding, Deleting, Sending),
    *(Expiring, Pruning, Forgetting),
)
INTENT: st.SearchStrategy[Intent] = st.sampled_from([*OFTEN, *OFTEN, *SELDOM]).flatmap(st.from_type)
ACCEPT = Accepting(PLAIN, 2, hooked=True, sent_along=False, workspace=0, key=None)
CLAIM = Claiming(WORKERS[0], TYPES, 2, idle=True, careful=Careful.FIRST, apt=True, heard=True)
LIST = Listing(0, held=True, count=1, size=1, again=False, last=True)
FINISH = Finishing(0, held=True, codes=(200, 404, 200))


def instead(intent: Intent, scene: Scene) -> Intent:
    """What brings about that which an intent lacks, so that few steps are in vain."""
    batches = scene.board.batches.values()
    match intent:
        case Claiming() if len(batches) < ENOUGH:
            return replace(ACCEPT, type=intent.types[0])
        case Claiming() if scene.board.paused:
            return Holding(scene.workspaces.index(min(scene.board.paused)), paused=False)
        case Claiming() if any(batch.status == Status.PAUSED for batch in batches):
            return Resuming(0, folder=False, apt=True)
        case Claiming() if scene.hand(0, is_plain, held=True):
            return FINISH
        case Claiming() if any(may_run_again(batch) for batch in batches):
            return Retrying(0, apt=True, all_records=True)
        case Claiming():
            return replace(intent, apt=False)
        case Pausing() if any(may_be_held_back(batch) for batch in batches):
            return replace(intent, folder=False)
        case Cancelling() | Pausing():
            return ACCEPT
        case Resuming():
            return Pausing(0, intent.folder, apt=True)
        case Announcing() if not any(batch.crashes for batch in batches if batch.status == Status.CREATED):
            return Crashing(0, held=True, pause_ms=0, max_crashes=3)
        case Listing():
            return replace(CLAIM, types=(FOLDER,))
        case Completing() if any(batch.pending for batch in batches):
            return replace(CLAIM, types=(CHILD,)) if any(is_waiting_child(batch) for batch in batches) else FINISH
        case Completing():
            return LIST
        case Retrying() | Deleting() | Sending():
            return FINISH
        case Settling():
            return Sending(1, apt=True)
        case _:
            return CLAIM


def is_waiting_child(batch: StoredBatch) -> bool:
    return batch.parent_id is not None and batch.status == Status.CREATED


class BatchMachine(RuleBasedStateMachine):
    """One example: a database that is empty at first. No rule depends on what it finds there."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.scene = Scene(self.world.read(), self.world.workspaces)

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
        while act is None:
            intent = instead(intent, self.scene)
            act = intent.act(replace(self.scene, family=None))
        return act

    def _do(self, acts: Sequence[Act[Any, Any]], *, apart: bool) -> None:
        """Look whether the answers, and the database, are as they were promised to be."""
        answers = self.world.do(acts, apart=apart)
        after = self.world.read()
        before = replace(self.scene.board, until=after.now)
        done = [(act, answer) for act, answer in zip(acts, answers, strict=True) if not isinstance(answer, Unavailable)]
        for act, answer in done:
            note(f"    {act}\n      -> {answer!r}")
        check_kept(before, done, after)
        check_step(before, after, acts)
        check_state(after)
        for act, answer in done:
            act.told(answer)
        self.scene.board = after


def one_of_each_lease(acts: Sequence[Act[Any, Any]]) -> list[Act[Any, Any]]:
    """Without what a worker would not do: two things about one batch at a time, its beats apart."""
    used: set[Lease] = set()
    kept = []
    for act in acts:
        lease = getattr(act.item, "lease", None)
        if lease not in used:
            kept.append(act)
        used |= {lease} if lease else set()
    return kept


def check_kept(before: Board, done: Sequence[tuple[Act[Any, Any], Any]], after: Board) -> None:
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
    told = [f"{act}\n  -> {answer!r}" for act, answer in done]
    raise Broken("\n".join(["No order explains", *told, "since", *min(problems, key=len)]))
