"""What somebody means to do next, and what is done instead where that is not possible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from hypothesis import strategies as st

from broker.batches import Status
from broker.store.claims import Careful
from tests.stateful.accepting import ENOUGH, Accepting, Forgetting
from tests.stateful.board import StoredBatch
from tests.stateful.claiming import Claiming
from tests.stateful.crashing import Crashing, Rescuing
from tests.stateful.ending import Cancelling, Completing, Finishing
from tests.stateful.judging import Bursting, Enabling
from tests.stateful.keeping import Expiring, Pruning
from tests.stateful.listing import Listing
from tests.stateful.moving import Deleting, Holding, Pausing, Resuming, Retrying, may_be_held_back, may_run_again
from tests.stateful.promise import Act
from tests.stateful.putting_back import PuttingBack
from tests.stateful.replaying import Replaying
from tests.stateful.rooms import MANY
from tests.stateful.scene import CHILD, FOLDER, HOOKS, PLAIN, TYPES, WORKERS, Scene, is_plain
from tests.stateful.sending import Sending, Settling
from tests.stateful.working import Announcing, Beating, Checkpointing, GivingBack, Straying


class Intent(Protocol):
    """What somebody means to do; `act` makes it an operation on what there is by then.

    Its fields are drawn whatever there is, so that the same draws make the same example.
    """

    def act(self, scene: Scene) -> Act[Any, Any] | None:
        """None: there is nothing that it could be done to."""


OFTEN: tuple[type[Intent], ...] = (
    *(Accepting, Claiming, Claiming, Checkpointing, Announcing, Announcing, Crashing, Crashing, Rescuing),
    *(Finishing, Cancelling, Retrying, Listing, Completing, Pausing, Resuming, Sending, Settling),
)
SELDOM: tuple[type[Intent], ...] = (
    *(Beating, GivingBack, GivingBack, Straying, Holding, Deleting, Sending),
    *(Expiring, Pruning, Forgetting, Bursting, Bursting, Enabling, Replaying, PuttingBack, PuttingBack),
)
INTENT: st.SearchStrategy[Intent] = st.sampled_from([*OFTEN, *OFTEN, *SELDOM]).flatmap(st.from_type)
ACCEPT = Accepting(PLAIN, 2, hook=HOOKS[0], sent_along=False, workspace=0, key=None)
CLAIM = Claiming(WORKERS[0], TYPES, 2, idle=True, careful=Careful.FIRST, apt=True, heard=True)
LIST = Listing(0, held=True, count=1, size=1, again=False, last=True)
SEND = Sending(1, MANY, MANY, due_first=False, apt=True)
FINISH = Finishing(0, held=True, codes=(200, 404, 200), offered=False)


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
        case Retrying() | Deleting() | Sending() | Replaying():
            return FINISH
        case Settling() | PuttingBack():
            return SEND
        case _:
            return CLAIM


def is_waiting_child(batch: StoredBatch) -> bool:
    return batch.parent_id is not None and batch.status == Status.CREATED
