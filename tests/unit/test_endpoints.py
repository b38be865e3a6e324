"""Endpoints: what they are, when they are failing or disabled, when the circuit breaker opens and closes."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.endpoints import (
    FAILING_AFTER,
    GONE,
    ONLY_FAILURES,
    UNWANTED,
    Breaker,
    Call,
    Condition,
    Health,
    Kind,
    after,
    enabled,
    endpoint_of,
    events,
)
from broker.secrets import Purpose, Vault

START = 1_700_000_000_000
DAY = 24 * 3600 * 1000
OK, BAD = Call.ANSWERED, Call.FAILED
VAULT = Vault(["a key of at least thirty-two characters"])


def told(*calls: tuple[int, Call], condition: Condition | None = None) -> tuple[Condition, list[Kind]]:
    """How an endpoint stands after calls at (ms after START, what came of it), and all that was told meanwhile."""
    now = condition or enabled(START)
    kinds: list[Kind] = []
    for at, call in calls:
        before, now = now, after(now, call, START + at)
        kinds += events(before, now)
    return now, kinds


def every(pause: int, *calls: Call) -> list[tuple[int, Call]]:
    return [(place * pause, call) for place, call in enumerate(calls)]


def stand(*calls: tuple[int, Call]) -> Condition:
    return told(*calls)[0]


def test_an_endpoint_is_a_workspace_and_a_url_without_its_query() -> None:
    url = "https://hook.example/in?secret=1"
    endpoint = endpoint_of(VAULT, "w", url)
    for same in ("https://hook.example/in", "https://hook.example/in?secret=2#top", "HTTPS://Hook.example/in"):
        assert endpoint_of(VAULT, "w", same).id == endpoint.id
    others = (
        "http://hook.example/in",
        "https://hook.example:8443/in",
        "https://hook.example/out",
        "https://b.example/in",
    )
    others_ids = [endpoint_of(VAULT, "w", other).id for other in others]
    assert len({endpoint.id, endpoint_of(VAULT, "v", url).id, *others_ids}) == 6
    assert "hook" not in endpoint.id
    assert (endpoint.workspace, endpoint.origin) == ("w", "https://hook.example")
    assert VAULT.open(Purpose.WEBHOOK_PLACE, endpoint.place) == b"https://hook.example/in"


def test_all_spellings_of_an_origin_make_one_endpoint() -> None:
    spellings = ("http://hook.example", "HTTP://HOOK.Example.:0080/?a", "http://hook\u3002example:80/")
    assert len({endpoint_of(VAULT, "w", url).id for url in spellings}) == 1


def test_it_is_failing_after_four_failures_in_a_row_and_says_so_once() -> None:
    condition, kinds = told(*every(1000, *[BAD] * (FAILING_AFTER - 1)))
    assert (condition.state, condition.failures, kinds) == (Health.HEALTHY, 3, [])
    condition, kinds = told(*every(1000, *[BAD] * 6))
    assert (condition.state, condition.failures, kinds) == (Health.FAILING, 6, [Kind.FAILING])
    assert (condition.since, condition.failing_since) == (START + 3000, START)
    assert condition.reason == "4 tries in a row failed"


def test_an_answer_in_between_breaks_the_row() -> None:
    condition, kinds = told(*every(1000, BAD, BAD, BAD, OK, BAD, BAD, BAD))
    assert (condition.state, condition.failures, kinds) == (Health.HEALTHY, 3, [])


def test_the_first_answer_of_a_failing_one_is_its_recovery() -> None:
    condition, kinds = told(*every(1000, *[BAD] * 5, OK, OK))
    assert kinds == [Kind.FAILING, Kind.RECOVERED]
    assert (condition.state, condition.failures, condition.failing_since) == (Health.HEALTHY, 0, None)
    assert (condition.since, condition.reason) == (START + 5000, None)


@pytest.mark.parametrize(("call", "reason"), [(Call.GONE, GONE), (Call.UNWANTED, UNWANTED)])
@pytest.mark.parametrize("failures", [0, 2, 5, 10])
def test_it_is_disabled_at_once_where_no_more_is_wanted(call: Call, reason: str, failures: int) -> None:
    condition, kinds = told(*every(1000, *[BAD] * failures, call))
    assert (condition.state, condition.reason, kinds[-1]) == (Health.DISABLED, reason, Kind.DISABLED)
    assert (condition.since, condition.open_until) == (START + failures * 1000, None)


def test_it_is_disabled_after_five_days_of_only_failures() -> None:
    fails = every(1000, *[BAD] * FAILING_AFTER)
    last = 3000 + 5 * DAY
    condition, kinds = told(*fails, (last - 1, BAD))
    assert (condition.state, kinds) == (Health.FAILING, [Kind.FAILING])
    condition, kinds = told(*fails, (last, BAD))
    assert (condition.state, condition.reason) == (Health.DISABLED, ONLY_FAILURES)
    assert kinds == [Kind.FAILING, Kind.DISABLED]


def test_five_days_count_from_the_last_answer() -> None:
    condition, _ = told(*every(DAY // 4, *[BAD] * 10, OK, *[BAD] * 20))
    assert condition.state is Health.FAILING


def test_a_burst_of_failures_long_after_another_disables_nothing() -> None:
    assert stand((0, BAD), (6 * DAY, BAD)).state is Health.HEALTHY
    assert stand((0, BAD), *[(6 * DAY + place, BAD) for place in range(9)]).state is Health.FAILING


@pytest.mark.parametrize("call", list(Call))
def test_what_comes_in_late_changes_nothing_of_a_disabled_one(call: Call) -> None:
    disabled = stand((0, Call.GONE))
    assert told((1000, call), condition=disabled) == (disabled, [])


def test_it_is_enabled_as_if_new() -> None:
    assert enabled(START) == Condition(Health.HEALTHY, START)
    assert enabled(START).is_spotless


def open_at(calls: list[tuple[int, Call]]) -> bool:
    return stand(*calls).open_until is not None


@pytest.mark.parametrize(
    ("failed", "answered", "opens"),
    [(9, 0, False), (10, 0, True), (7, 3, True), (6, 4, False), (14, 6, True), (13, 7, False)],
)
def test_the_breaker_opens_at_seven_of_ten_failed_calls_and_at_least_ten(
    failed: int, answered: int, opens: bool
) -> None:
    """The first call is a failure, as calls are counted from the first failure on, and so is the last."""
    calls = every(1000, BAD, *[OK] * answered, *[BAD] * (failed - 1))
    assert open_at(calls) is opens


def test_calls_before_the_first_failure_of_the_window_do_not_count() -> None:
    assert open_at(every(1000, *[OK] * 90, *[BAD] * 10))


def test_calls_older_than_five_minutes_do_not_count() -> None:
    """The first of ten, that is, when the tenth comes; one that is as old as that counts no more."""
    nine = [(place, BAD) for place in range(9)]
    assert not open_at([*nine, (300_000, BAD)])
    assert open_at([*nine, (299_999, BAD)])


def test_an_open_breaker_stays_open_for_half_a_minute_and_longer_with_each_failed_probe() -> None:
    tenth = 9000
    opened = stand(*every(1000, *[BAD] * 10))
    assert opened.open_until == START + tenth + 30_000
    probed = after(opened, BAD, START + 60_000)
    assert probed.open_until == START + 90_000


def test_an_answer_closes_the_breaker_and_it_opens_anew_only_after_ten_calls() -> None:
    opened = stand(*every(1000, *[BAD] * 10))
    closed = after(opened, OK, START + 60_000)
    assert (closed.open_until, closed.state) == (None, Health.HEALTHY)
    again = [(61_000 + place, BAD) for place in range(9)]
    assert told(*again, condition=closed)[0].open_until is None
    assert told(*again, (62_000, BAD), condition=closed)[0].open_until == START + 92_000


def test_one_that_declines_a_webhook_is_there_and_neither_better_nor_worse_for_it() -> None:
    for calls in ([], [BAD], [BAD] * 5):
        condition = stand(*every(1000, *calls))
        assert told((9000, Call.DECLINED), condition=condition) == (condition, [])
    opened = stand(*every(1000, *[BAD] * 10))
    closed = after(opened, Call.DECLINED, START + 60_000)
    assert closed == replace(opened, recent=(), open_until=None)
    assert (closed.state, closed.failures) == (Health.FAILING, 10)


def test_a_healthy_one_that_answers_stays_without_a_trace() -> None:
    assert stand(*every(1000, *[OK] * 50)) == enabled(START)


def test_it_is_spotless_again_once_its_failures_are_out_of_the_window() -> None:
    marred = stand((0, BAD), (1000, OK))
    assert not marred.is_spotless
    assert after(marred, OK, START + 301_000).is_spotless


def test_no_more_than_the_latest_calls_are_remembered() -> None:
    condition = stand(*every(10, *chain.from_iterable(repeat((BAD, OK), 500))))
    assert len(condition.recent) == 100


calls = st.lists(st.tuples(st.integers(0, DAY), st.sampled_from(list(Call))), max_size=40)


@given(calls)
def test_whatever_comes_states_have_their_reasons_and_events_their_turns(steps: list[tuple[int, Call]]) -> None:
    now = enabled(START)
    at = START
    kinds: list[Kind] = []
    for pause, call in steps:
        at += pause
        before, now = now, after(now, call, at)
        kinds += events(before, now)
        assert (now.reason is None) == (now.state is Health.HEALTHY)
        assert now.since <= at
        assert now.state is not Health.HEALTHY or now.failures < FAILING_AFTER
        assert (now.failures == 0) == (now.failing_since is None)
    alternating = [kind for kind in kinds if kind is not Kind.DISABLED]
    assert alternating == [(Kind.FAILING, Kind.RECOVERED)[place % 2] for place in range(len(alternating))]
    assert kinds.count(Kind.DISABLED) == (now.state is Health.DISABLED)


@given(calls)
def test_a_spotless_condition_is_not_changed_by_an_answer(steps: list[tuple[int, Call]]) -> None:
    at, now = START, enabled(START)
    for pause, call in steps:
        at += pause
        now = after(now, call, at)
    assert not now.is_spotless or after(now, Call.ANSWERED, at) == now


def test_the_reason_is_of_the_time_when_it_began() -> None:
    condition = stand(*every(1000, *[BAD] * 4))
    assert replace(condition, failures=9) == replace(stand(*every(1000, *[BAD] * 9)), recent=condition.recent)


def test_the_breaker_is_open_until_its_time_and_half_open_from_then_on() -> None:
    assert enabled(START).breaker(START) is Breaker.CLOSED
    opened = stand(*every(1, *[BAD] * 10))
    assert opened.open_until == START + 30_009
    assert [opened.breaker(opened.open_until + ms) for ms in (-1, 0, DAY)] == [
        Breaker.OPEN,
        Breaker.HALF_OPEN,
        Breaker.HALF_OPEN,
    ]
