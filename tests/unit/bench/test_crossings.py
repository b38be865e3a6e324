"""The crossings bench believes no count that cannot be."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.crossings import CONNECTIONS, SLOTS, Counted

BATCHES = 6400


def counted(kind: str, transactions: int) -> Counted:
    return Counted(BATCHES, Counter(), Counter({f"{kind} transactions": transactions}))


@pytest.mark.parametrize(("kind", "most"), [("accept", CONNECTIONS), ("claim", SLOTS), ("finish", SLOTS)])
def test_a_transaction_holds_from_one_batch_to_as_many_as_are_under_way(kind: str, most: int) -> None:
    assert counted(kind, BATCHES).together(kind) == 1
    assert counted(kind, BATCHES // most).together(kind) == most


@pytest.mark.parametrize("transactions", [0, 8, BATCHES // CONNECTIONS - 1, BATCHES + 1])
def test_transactions_that_were_missed_or_counted_twice_are_no_result(transactions: int) -> None:
    with pytest.raises(RuntimeError, match="accept: miscounted"):
        counted("accept", transactions).together("accept")
