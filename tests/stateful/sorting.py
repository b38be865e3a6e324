"""What a sender's claim makes of deliveries: some go, some are held back, some are stopped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from broker.deliveries import State
from broker.endpoints import Health
from broker.store.deliveries import Claimed, DueOrder
from tests.stateful.board import Board, StoredAttempt, StoredDelivery, StoredEndpoint
from tests.stateful.promise import About, demand
from tests.stateful.rooms import Rooms


@dataclass
class Sorted:
    """endpoints: as they are then. more: others could have gone, had the limit not been reached."""

    go: list[StoredDelivery] = field(default_factory=list)
    hold: list[StoredDelivery] = field(default_factory=list)
    stop: list[StoredDelivery] = field(default_factory=list)
    endpoints: list[StoredEndpoint] = field(default_factory=list)
    more: bool = False


def moves(board: Board, order: DueOrder) -> bool:
    """Whether there is anything that a claim may do."""
    ready = [one for one in board.endpoints.values() if one.holding and not _is_open(one, board.now)]
    roomy = [one for one in ready if _is_disabled(one) or _room(board, order, (), one) > 0]
    return bool(board.due_deliveries() or any(board.held_deliveries(one.id) for one in roomy))


def begun(board: Board, order: DueOrder, claimed: Claimed) -> Board:
    """What goes has the row of its attempt before anything is sent, and always the same bytes.

    Never more of an endpoint or an origin than there is room for, nothing to a disabled endpoint, and to one whose
    breaker was open for its time a single probe of what it holds back.
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
    demand(all(_room(board, order, rows, board.endpoints[row.endpoint]) >= 0 for row in rows), "too many", rows)
    return _moved(board, order, (_guess if _is_vague(board) else _sort)(board, order, rows, claimed))


def _moved(board: Board, order: DueOrder, plan: Sorted) -> Board:
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
    asked = replace(row, manual=False, due=None, held=None)
    return replace(asked, state=State.STOPPED, finished=now) if row.state == State.PENDING else asked


def _sort(board: Board, order: DueOrder, rows: Sequence[StoredDelivery], claimed: Claimed) -> Sorted:
    """All that a claim does, where nobody is in its way."""
    taken_up = [row for row in rows if row.held is not None]
    plan = _sort_due(board, order, [] if order.due_first else taken_up)
    fresh = [row for row in rows if row.held is None]
    demand({row.id for row in fresh} == {row.id for row in plan.go}, "not what is due goes", fresh, plan)
    demand(claimed.more == plan.more, "a wrong word on whether more is due", claimed, plan)
    plan.go = list(rows)
    for endpoint in board.endpoints.values():
        if endpoint.holding and not _is_open(endpoint, board.now):
            mine = [row for row in taken_up if row.endpoint == endpoint.id]
            _look(board, order, plan, endpoint, mine, late=taken_up if not order.due_first else rows)
        else:
            demand(all(row.endpoint != endpoint.id for row in taken_up), "taken up too early", endpoint, taken_up)
    holding = {row.endpoint for row in plan.hold}
    looked_at = {one.id: one for one in plan.endpoints}
    plan.endpoints += [replace(looked_at.get(id, board.endpoints[id]), holding=True) for id in holding]
    return plan


def _sort_due(board: Board, order: DueOrder, before: Sequence[StoredDelivery]) -> Sorted:
    """The longest due first, until the limit is reached; before: what goes anyway."""
    plan = Sorted()
    for row in board.due_deliveries():
        endpoint = board.endpoints[row.endpoint]
        if _is_disabled(endpoint):
            plan.stop.append(row)
        elif _must_wait(board, order, (*before, *plan.go), row):
            plan.hold.append(row)
        elif len(before) + len(plan.go) == order.limit:
            plan.more = True
            break
        else:
            plan.go.append(row)
    return plan


def _look(
    board: Board,
    order: DueOrder,
    plan: Sorted,
    endpoint: StoredEndpoint,
    mine: Sequence[StoredDelivery],
    late: Sequence[StoredDelivery],
) -> None:
    """What is held back of an endpoint goes, the longest due first, until there is no room; then nothing is held.

    mine: what goes of it; late: all that goes by the end of this look at what is held.
    """
    held = board.held_deliveries(endpoint.id)
    if _is_disabled(endpoint):
        demand(not mine, "sent to a disabled endpoint", mine)
        plan.stop += held
        plan.endpoints.append(replace(endpoint, holding=False))
        return
    left = min(_room(board, order, late, endpoint), order.limit - len(late))
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


def _is_vague(board: Board) -> bool:
    """Whether a claim may do one thing or another: it passes over rows, or what comes first depends on the instant."""
    fresh = sum(row.due is not None and row.due >= board.now for row in board.due_deliveries())
    conditions = [one.condition for one in board.endpoints.values()]
    edge = any(one.open_until is not None and board.now < one.open_until <= board.until for one in conditions)
    return board.crowded or fresh > 1 or edge


def _guess(board: Board, order: DueOrder, rows: Sequence[StoredDelivery], _claimed: Claimed) -> Sorted:
    """What was seen to be done, as far as a claim may do that."""
    assert board.then is not None
    plan = Sorted(go=list(rows))
    _demand_may_go(board, rows)
    going = {row.id for row in rows}
    rest = [row for row in board.due_deliveries() if row.id not in going]
    for row in rest:
        seen = board.then.deliveries.get(row.id)
        if _is_disabled(board.endpoints[row.endpoint]):
            plan.stop += [row] * (seen is not None and not seen.owed)
        elif seen and seen.held is not None and _must_wait(board, order, rows, row):
            plan.hold.append(row)
    for endpoint in board.endpoints.values():
        seen_then = board.then.endpoints.get(endpoint.id, endpoint)
        held = [row for row in board.held_deliveries(endpoint.id) if row.id not in going]
        if _is_disabled(endpoint):
            plan.stop += [
                row for row in held if row.id in board.then.deliveries and not board.then.deliveries[row.id].owed
            ]
        condition = endpoint.condition
        mine = [row for row in rows if row.endpoint == endpoint.id]
        probed = any(not row.manual or row.held is not None for row in mine)
        probed = probed or bool(mine and _is_open(seen_then, board.now + order.lease_ms - 1))
        if condition.open_until is not None and probed:
            condition = replace(condition, open_until=About(board.now + order.lease_ms))
        plan.endpoints.append(replace(endpoint, condition=condition, holding=seen_then.holding))
    return plan


def _demand_may_go(board: Board, rows: Iterable[StoredDelivery]) -> None:
    for row in rows:
        endpoint = board.endpoints[row.endpoint]
        ready = row.held is not None or (row.due is not None and row.due <= board.now)
        demand(row.owed and ready, "claimed though it is neither due nor held", row)
        demand(not _is_disabled(endpoint), "sent to a disabled endpoint", row)
        demand(row.manual or not _is_open(endpoint, board.until), "sent while the breaker is open", row, endpoint)


def _must_wait(board: Board, order: DueOrder, going: Iterable[StoredDelivery], row: StoredDelivery) -> bool:
    """Whether its endpoint has no room, or a breaker that is not closed; that one stops no try that was asked for."""
    endpoint = board.endpoints[row.endpoint]
    stops = endpoint.condition.open_until is not None and not row.manual
    return stops or _room(board, order, going, endpoint) <= 0


def _room(board: Board, order: DueOrder, going: Iterable[StoredDelivery], endpoint: StoredEndpoint) -> int:
    """How many more may begin at an endpoint beside those that go."""
    rooms = order.usher
    assert isinstance(rooms, Rooms)
    places = [board.endpoints[row.endpoint] for row in going]
    each = sum(place.id == endpoint.id for place in places)
    return min(rooms.each - each, rooms.origin - sum(place.origin == endpoint.origin for place in places))


def _is_disabled(endpoint: StoredEndpoint) -> bool:
    return endpoint.condition.state is Health.DISABLED


def _is_open(endpoint: StoredEndpoint, now: int) -> bool:
    """Whether nothing may be sent for now."""
    return endpoint.condition.open_until is not None and endpoint.condition.open_until > now
