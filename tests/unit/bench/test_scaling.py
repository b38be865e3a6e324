"""How the scaling bench tells that a worker or a batch starved."""

from __future__ import annotations

import pytest

from bench.queued import End
from bench.scaling import least_part, overtaken


def end(finished: int, process: int = 1) -> End:
    return End("id", finished, f'{{"process": {process}}}')


def test_batches_that_end_in_their_order_or_together_overtake_nobody() -> None:
    assert overtaken([end(1), end(2), end(2), end(3)]) == 0


def test_a_batch_is_overtaken_by_the_younger_ones_that_ended_before_it() -> None:
    assert overtaken([end(1), end(9), end(3), end(4), end(9), end(10)]) == 2


@pytest.mark.parametrize(("processes", "part"), [([1, 2, 1, 2], 1.0), ([1, 2, 1, 1], 0.5)])
def test_a_fair_part_is_what_the_others_ran(processes: list[int], part: float) -> None:
    assert least_part([end(7, process) for process in processes], 2) == part


def test_what_ended_before_all_workers_were_there_counts_for_none() -> None:
    assert least_part([end(1, 1), end(2, 1), end(5, 2), end(5, 1)], 2) == 1.0


def test_a_worker_that_ran_nothing_is_told() -> None:
    with pytest.raises(RuntimeError, match="1 of 2 workers ran nothing"):
        least_part([end(1), end(2)], 2)
