"""What a sender's claim makes of deliveries: some go, some are held back, some are stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from broker.deliveries import State
from broker.store.deliveries import Claimed, DueOrder
from tests.stateful.board import Board, StoredAttempt, StoredDelivery, StoredEndpoint
from tests.stateful.guessing import guess, is_vague
from tests.stateful.promise import About, demand
from tests.stateful.rooms import Plan, asked_at, is_disabled, is_open, must_wait, room


def moves(board: Board, order: DueOrder) -> bool:
    """Whether there is anything that a claim may do."""
    ready = [one for one in board.endpoints.values() if one.holding and not is_open(one, board.now)]
    roomy = [one for one in ready if is_disabled(one) or room(board, order, (), one) > 0]
    asked = [one for one in board.endpoints.values() if asked_at(board, one) and room(board, order, (), one) > 0]
    return bool(board.due_deliveries() or asked or any(board.held_deliveries(one.id) for one in roomy))


def begun(board: Board, order: DueOrder, claimed: Claimed) -> Board:
    """What goes has the row of its attempt before anything is sent, and always the same bytes.

    Never more of an endpoint or an origin than there is room for, nothing to a disabled endpoint, and to one whose
    breaker was open for its time a single probe of what it holds back. While it is open, only what was asked for.
    """
    tries = claimed.deliveries
    rows = [board.deliveries[one.id] for one in tries if one.id in board.deliveries]
    demand(len({row.id for row in rows}) == len(tries) <= order.limit, "claimed twice, unknown or too many", claimed)
    told = {(one.id, one.lease_seq, one.attempt, one.body, one.manual, one.state, one.origin) for one in tries}
    known = {
        (r.id, r.lease_seq + 1, r.attempts + 1, r.body, r.manual, r.state, board.endpoints[r.endpoint].origin)
        for r in rows
    }
    demand(told == known, "other tries than are stored", claimed, rows)
    demand(all(room(board, order, rows, board.endpoints[row.endpoint]) >= 0 for row in rows), "too many", rows)
    plan = guess(board, order, rows) if is_vague(board) else _sort(board, order, rows, claimed)
    return _moved(board, order, plan)


def _moved(board: Board, order: DueOrder, plan: Plan) -> Board:
    now, until = About(board.now), About(board.now + order.lease_ms)
    going = [
        replace(
            row,
            lease_seq=row.lease_seq + 1,
            attempts=row.attempts + 1,
            step=row.step + (not row.manual),
            due=until,
            held=None,
        )
        for row in plan.go
    ]
    attempts = [StoredAttempt(row.id, row.attempts, row.manual, now, None, None) for row in going]
    held = [replace(row, due=None, held=row.due) for row in plan.hold]
    stopped = [_stopped(row, now) for row in plan.stop]
    return board.put(*going, *attempts, *held, *stopped, *plan.endpoints)


def _stopped(row: StoredDelivery, now: int) -> StoredDelivery:
    """What had come to its end before a person asked for one more try keeps that end."""
    asked = replace(row, manual=False, due=None, held=None, scheduled=None)
    return replace(asked, state=State.STOPPED, finished=now) if row.state == State.PENDING else asked


def _sort(board: Board, order: DueOrder, rows: Sequence[StoredDelivery], claimed: Claimed) -> Plan:
    """All that a claim does, where nobody is in its way."""
    taken_up = [row for row in rows if row.held is not None]
    asked = [row for row in taken_up if is_open(board.endpoints[row.endpoint], board.now)]
    plan = _sort_due(board, order, asked if order.due_first else taken_up)
    fresh = [row for row in rows if row.held is None]
    demand({row.id for row in fresh} == {row.id for row in plan.go}, "not what is due goes", fresh, plan)
    demand(claimed.more == plan.more, "a wrong word on whether more is due", claimed, plan)
    plan.go = list(rows)
    for endpoint in board.endpoints.values():
        mine = [row for row in taken_up if row.endpoint == endpoint.id]
        if is_open(endpoint, board.now):
            _check_asked(board, order, endpoint, mine, asked)
        elif endpoint.holding:
            _look(board, order, plan, endpoint, mine, late=taken_up if not order.due_first else rows)
        else:
            demand(not mine, "taken up too early", endpoint, mine)
    holding = {row.endpoint for row in plan.hold}
    looked_at = {one.id: one for one in plan.endpoints}
    plan.endpoints += [replace(looked_at.get(id, board.endpoints[id]), holding=True) for id in holding]
    return plan


def _sort_due(board: Board, order: DueOrder, before: Sequence[StoredDelivery]) -> Plan:
    """The longest due first, until the limit is reached; before: what goes anyway."""
    plan = Plan()
    for row in board.due_deliveries():
        endpoint = board.endpoints[row.endpoint]
        if is_disabled(endpoint):
            plan.stop.append(row)
        elif must_wait(board, order, (*before, *plan.go), row):
            plan.hold.append(row)
        elif len(before) + len(plan.go) == order.limit:
            plan.more = True
            break
        else:
            plan.go.append(row)
    return plan


def _check_asked(
    board: Board,
    order: DueOrder,
    endpoint: StoredEndpoint,
    mine: Sequence[StoredDelivery],
    asked: Sequence[StoredDelivery],
) -> None:
    """Past an open breaker goes what was asked for, the longest ago first, until there is no room."""
    waiting = asked_at(board, endpoint)
    demand({row.id for row in mine} == {row.id for row in waiting[: len(mine)]}, "not what was asked for", mine)
    left = min(room(board, order, asked, endpoint), order.limit - len(asked))
    demand(left <= 0 or len(mine) == len(waiting), "asked for and left behind though there is room", waiting)


def _look(
    board: Board,
    order: DueOrder,
    plan: Plan,
    endpoint: StoredEndpoint,
    mine: Sequence[StoredDelivery],
    late: Sequence[StoredDelivery],
) -> None:
    """What is held back of an endpoint goes, the longest due first, until there is no room; then nothing is held.

    mine: what goes of it; late: all that goes by the end of this look at what is held.
    """
    held = board.held_deliveries(endpoint.id)
    if is_disabled(endpoint):
        demand(not mine, "sent to a disabled endpoint", mine)
        plan.stop += held
        plan.endpoints.append(replace(endpoint, holding=False))
        return
    left = min(room(board, order, late, endpoint), order.limit - len(late))
    if endpoint.condition.open_until is not None:
        left = min(left, 1 - len(mine))
        demand(len(mine) <= 1, "more than one call probes", mine)
        if mine:
            until = About(board.now + order.lease_ms)
            endpoint = replace(endpoint, condition=replace(endpoint.condition, open_until=until))
    first = held[: len(mine)]
    demand({row.id for row in mine} == {row.id for row in first}, "not the longest due of an endpoint", mine, held)
    demand(left <= 0 or len(mine) == len(held), "left behind though there is room", endpoint, held)
    holding = len(mine) < len(held)
    if not holding and left <= 0:  # whether it looked for another depends on which endpoint came first
        seen = board.then and board.then.endpoints.get(endpoint.id)
        holding = bool(seen and seen.holding)
    plan.endpoints.append(replace(endpoint, holding=holding))
