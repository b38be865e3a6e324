"""Parents: whoever holds one's lease lists its children, page by page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from hypothesis import strategies as st

from broker.store.children import Expansion, NewChild, add_children
from broker.store.rank import child_rank
from tests.stateful.accepting import Size, created_row, new_batch
from tests.stateful.board import Board
from tests.stateful.promise import About, Act, demand
from tests.stateful.scene import CHILD, Mostly, Pick, Scene, is_folder


@dataclass(frozen=True)
class Listing:
    """again: the page begins with the first child, as after a crash; last: no page follows."""

    hand: Pick
    held: Mostly
    count: Annotated[int, st.integers(0, 2)]
    size: Size
    again: bool
    last: Annotated[bool, st.sampled_from([False, False, True])]

    def act(self, scene: Scene) -> Act[Expansion, bool] | None:
        hand = scene.hand(self.hand, is_folder, held=self.held)
        if hand is None:
            return None
        first = 0 if self.again else len(scene.board.children_of(hand.lease.batch))
        workspace = hand.workspace or scene.workspaces[0]
        children = [NewChild(first + place, new_batch(workspace, CHILD, self.size)) for place in range(self.count)]
        return Act(add_children, Expansion(hand.lease, tuple(children), None if self.last else "page"), listed)


def listed(board: Board, item: Expansion, told: bool) -> Board:
    """Each ordinal once; after the last page the parent waits without a lease."""
    parent = board.holder(item.lease)
    demand(told == (parent is not None), f"{told} about {item.lease}")
    if parent is None:
        return board
    there = {child.ordinal for child in board.children_of(parent.id)}
    children = [
        replace(
            created_row(child.batch, About(board.now), child_rank(parent.rank)),
            parent_id=parent.id,
            ordinal=child.ordinal,
        )
        for child in item.children
        if child.ordinal not in there
    ]
    more = replace(parent, pending=(parent.pending or 0) + len(children), cursor=item.cursor)
    if item.cursor is None:
        more = replace(more, lease_owner=None, lease_until=None)
    return board.put(more, *children)
