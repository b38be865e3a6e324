"""What a claim did where others are in its way, or an instant decides: seen afterwards, as the answer does not tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from broker.store.deliveries import DueOrder
from tests.stateful.board import Board, StoredDelivery, StoredEndpoint
from tests.stateful.promise import About, demand
from tests.stateful.rooms import Plan, is_disabled, is_open, must_wait


def is_vague(board: Board) -> bool:
    """Whether a claim may do one thing or another: it passes over rows, or what comes first depends on the instant."""
    fresh = sum(row.due is not None and row.due >= board.now for row in board.due_deliveries())
    conditions = [one.condition for one in board.endpoints.values()]
    edge = any(one.open_until is not None and board.now < one.open_until <= board.until for one in conditions)
    return board.crowded or fresh > 1 or edge


def guess(board: Board, order: DueOrder, rows: Sequence[StoredDelivery]) -> Plan:
    """What the step came to, as far as a claim may do that."""
    assert board.then is not None
    _demand_may_go(board, rows)
    plan = Plan(go=list(rows))
    going = {row.id for row in rows}
    for row in board.deliveries.values():
        seen = board.then.deliveries.get(row.id)
        turn = row.held is not None or (row.due is not None and row.due <= board.now)
        if row.id in going or not row.owed or not turn:
            continue
        if _may_be(board, row.endpoint, disabled=True) and (seen is None or not seen.owed):
            plan.stop.append(row)  # and what is stopped may be removed with its batch
        elif seen is None or not _may_be(board, row.endpoint, disabled=False):
            continue
        elif row.held is None and seen.held is not None and must_wait(board, order, rows, row):
            plan.hold.append(row)
    plan.endpoints = [_guess_endpoint(board, order, rows, one) for one in board.endpoints.values()]
    return plan


def _guess_endpoint(
    board: Board, order: DueOrder, rows: Sequence[StoredDelivery], endpoint: StoredEndpoint
) -> StoredEndpoint:
    """What goes to one whose breaker is not closed probes it, unless a person asked for it; that may have been held
    until the breaker had been open for its time.
    """
    seen = board.then and board.then.endpoints.get(endpoint.id)
    condition = endpoint.condition
    mine = [row for row in rows if row.endpoint == endpoint.id]
    over = not is_open(endpoint, board.now)
    probed = any(not row.manual or (over and row.held is not None) for row in mine)
    probed = probed or bool(mine and seen and is_open(seen, board.now + order.lease_ms - 1))
    if condition.open_until is not None and probed:
        condition = replace(condition, open_until=About(board.now + order.lease_ms))
    return replace(endpoint, condition=condition, holding=seen.holding if seen else endpoint.holding)


def _demand_may_go(board: Board, rows: Iterable[StoredDelivery]) -> None:
    for row in rows:
        endpoint = board.endpoints[row.endpoint]
        ready = row.held is not None or (row.due is not None and row.due <= board.now)
        demand(row.owed and ready, "claimed though it is neither due nor held", row)
        demand(_may_be(board, row.endpoint, disabled=False), "sent to a disabled endpoint", row)
        demand(row.manual or not is_open(endpoint, board.until), "sent while the breaker is open", row, endpoint)


def _may_be(board: Board, endpoint: str, *, disabled: bool) -> bool:
    """What a claim may take an endpoint for. In a crowd, somebody may come between its statements and change that."""
    boards = [board, board.then] if board.crowded and board.then else [board]
    return any(is_disabled(one.endpoints[endpoint]) is disabled for one in boards)
