"""The state machine: steps of any kind in any order, one at a time and several at once, each checked in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, ClassVar, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker.errors import Unavailable
from tests.stateful.accepting import Accepting, Forgetting
from tests.stateful.board import Board
from tests.stateful.crashing import Crashing, Rescuing
from tests.stateful.ending import Cancelling, Completing, Finishing
from tests.stateful.invariants import check_state, check_step
from tests.stateful.keeping import Expiring, Pruning
from tests.stateful.listing import Listing
from tests.stateful.moving import Deleting, Holding, Pausing, Resuming, Retrying
from tests.stateful.promise import DAY, HOUR, MINUTE, Act, Broken, differences
from tests.stateful.scene import Scene
from tests.stateful.sending import Sending, Settling
from tests.stateful.working import Announcing, Beating, Checkpointing, Claiming, GivingBack
from tests.stateful.world import World

SPANS = (3000, 70 * MINUTE, 25 * HOUR, 40 * DAY)
"""Longer than a worker's patience, than a lease, than keys and pictures are kept, than batches are."""


class Intent(Protocol):
    """What somebody means to do; `act` makes it an operation on what there is by then.

    Its fields are drawn whatever there is, so that the same draws make the same example.
    """

    def act(self, scene: Scene) -> Act[Any, Any]: ...


AT_ONCE: tuple[type[Intent], ...] = (
    *(Accepting, Claiming, Beating, Checkpointing, Announcing, GivingBack, Finishing, Crashing, Rescuing),
    *(Cancelling, Completing, Retrying, Pausing, Resuming, Deleting, Listing, Sending, Settling, Pruning),
)


def alone(kind: type[Intent]) -> Any:
    """A rule whose step is one act of this kind."""

    def step(self: BatchMachine, intent: Intent) -> None:
        self.step([intent])

    step.__name__ = kind.__name__.lower()
    make_rule: Callable[[Callable[[BatchMachine, Intent], None]], Any] = rule(intent=st.from_type(kind))
    return make_rule(step)


class BatchMachine(RuleBasedStateMachine):
    """One example: a database that is empty at first. No rule depends on what it finds there."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.scene = Scene(self.world.read(), self.world.workspaces)

    accepting = alone(Accepting)
    claiming = alone(Claiming)
    beating = alone(Beating)
    announcing = alone(Announcing)
    checkpointing = alone(Checkpointing)
    giving_back = alone(GivingBack)
    finishing = alone(Finishing)
    crashing = alone(Crashing)
    rescuing = alone(Rescuing)
    cancelling = alone(Cancelling)
    completing = alone(Completing)
    retrying = alone(Retrying)
    pausing = alone(Pausing)
    resuming = alone(Resuming)
    holding = alone(Holding)
    deleting = alone(Deleting)
    listing = alone(Listing)
    sending = alone(Sending)
    settling = alone(Settling)
    expiring = alone(Expiring)
    pruning = alone(Pruning)
    forgetting = alone(Forgetting)

    @initialize(intents=st.lists(st.from_type(Accepting), min_size=1, max_size=4))
    def begin(self, intents: Sequence[Accepting]) -> None:
        self.step(intents)

    @rule(intents=st.lists(st.one_of(*map(st.from_type, AT_ONCE)), min_size=2, max_size=4))
    def at_once(self, intents: Sequence[Intent]) -> None:
        self.step(intents)

    @rule(ms=st.sampled_from(SPANS))
    def pass_time(self, ms: int) -> None:
        self.world.pass_time(ms)
        self.scene.board = self.world.read()

    def step(self, intents: Sequence[Intent]) -> None:
        """Do all of it at once, and look whether the database is as it was promised to be."""
        acts = [intent.act(self.scene) for intent in intents]
        answers = self.world.do(acts)
        after = self.world.read()
        crowded = len(acts) > 1 and self.world.skips_locked
        before = replace(self.scene.board, until=after.now, crowded=crowded)
        done = [(act, answer) for act, answer in zip(acts, answers, strict=True) if not isinstance(answer, Unavailable)]
        check_kept(before, done, after)
        check_step(before, after, acts)
        check_state(after)
        for act, answer in done:
            act.told(answer)
        self.scene.board = after


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
    raise Broken("\n".join(["no order explains", *told, *min(problems, key=len)]))
