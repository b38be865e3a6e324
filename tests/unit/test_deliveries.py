"""Deliveries: which headers a customer may set, when to try again, what an answer means."""

from __future__ import annotations

import random

import pytest

from broker.deliveries import (
    JITTER,
    LEAST_PAUSE,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_HEADERS_BYTES,
    Slowdown,
    Verdict,
    call_of,
    check_headers,
    drain_seconds,
    parse_retry_after,
    pause_before,
    pause_when_unsent,
    slowdown,
    verdict,
)
from broker.endpoints import Call

SCHEDULE = (0.0, 5.0, 300.0)

OURS = (
    *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "trailers"),
    *("upgrade", "expect", "proxy-authenticate", "proxy-authorization", "proxy-connection", "content-type"),
    *("content-encoding", "content-language", "content-location", "user-agent", "accept-encoding", "date", "age"),
    *("cache-control", "expires", "pragma", "warning", "forwarded", "via", "x-real-ip", "x-forwarded-for"),
    *("x-forwarded-host", "x-forwarded-proto", "webhook-id", "webhook-timestamp", "webhook-signature", "broker-run"),
    *("x-broker-anything", "x-amz-date", "x-amzn-trace-id", "x-google-x", "x-googlebot", "x-goog-x", "x-gfe-x"),
    *("x-azure-ref", "x-fd-healthprobe"),
)
ALLOWED = (
    *("Authorization", "X-Api-Key", "Cookie", "X-Amazing", "X-Request-Id", "Hostname", "X-Host", "Datetime"),
    *("x-forward", "Accept", "Webhook", "!#$%&'*+-.^_`|~09azAZ"),
)


@pytest.mark.parametrize("name", OURS)
def test_a_header_of_ours_is_refused_in_any_case_and_with_spaces_around(name: str) -> None:
    for spelling in (name, name.upper(), name.title(), f" {name}", f"{name}\t"):
        (problem,) = check_headers({spelling: "x"}).values()
        assert "cannot be changed" in problem


@pytest.mark.parametrize("name", ALLOWED)
def test_any_other_header_is_allowed(name: str) -> None:
    assert check_headers({name: "value"}) == {}


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:b", "näme", "a\r\nb", "a\nb", "a\x00", "a/b", "(a)", "a=b", '"a"', "a\n", " X-Key"]
)
def test_a_name_is_a_token(name: str) -> None:
    assert list(check_headers({name: "x"})) == [name]


@pytest.mark.parametrize("value", ["", "a", "Bearer a.b-c_d~", "a b\tc", "~!@#$%^&*(){}[]", "x" * MAX_HEADER_BYTES])
def test_a_value_of_visible_ascii_is_allowed(value: str) -> None:
    assert check_headers({"X-Key": value}) == {}


@pytest.mark.parametrize(
    "value",
    [
        *("a\r\nWebhook-Id: forged", "a\nb", "a\rb", "a\n", "\r", "a\x00b", "\x00", "a\x7f", "a\x1fb", "a\x0bb"),
        *("grüße", "\u20ac", "a\u2028b", "\ud800", " a", "a ", "\ta", "a\t"),
        *("x" * (MAX_HEADER_BYTES + 1), "é" * MAX_HEADER_BYTES),
    ],
    ids=repr,
)
def test_a_value_that_could_break_out_of_its_line_is_refused(value: str) -> None:
    assert list(check_headers({"X-Key": value})) == ["X-Key"]


def test_a_name_given_twice_in_another_case_is_refused() -> None:
    assert list(check_headers({"X-Key": "1", "x-key": "2", "X-KEY": "3", "Other": "4"})) == ["x-key", "X-KEY"]


def test_each_bad_header_is_named_and_the_good_are_not() -> None:
    assert set(check_headers({"Host": "a", "X-Good": "b", "X-Bad": "\n", "X Worse": "c"})) == {
        *("Host", "X-Bad", "X Worse")
    }


def test_there_may_be_50_headers_and_no_more() -> None:
    headers = {f"X-{number}": "x" for number in range(MAX_HEADERS)}
    assert MAX_HEADERS == 50
    assert check_headers(headers) == {}
    assert list(check_headers({**headers, "X-More": "x"})) == [""]


def test_headers_may_have_16384_bytes_together_and_no_more() -> None:
    headers = {f"X-{number}": "x" * (MAX_HEADER_BYTES - 3) for number in range(4)}
    assert MAX_HEADERS_BYTES == 16_384 == sum(map(len, (*headers, *headers.values())))
    assert check_headers(headers) == {}
    assert list(check_headers({**headers, "X-3x": headers.pop("X-3")}).values()) == [
        "Their names and values together are longer than 16384 bytes."
    ]
    assert list(check_headers({**headers, "X-3": "x" * (MAX_HEADER_BYTES - 2)})) == [""]
    assert list(check_headers({**headers, "X-3": "x" * 100_000})) == ["X-3"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_2xx_is_done(status: int) -> None:
    assert verdict(status) is Verdict.DONE


def test_a_410_is_never_tried_again() -> None:
    assert verdict(410) is Verdict.NEVER


@pytest.mark.parametrize(
    "status", [100, 199, 300, 301, 302, 304, 308, 400, 401, 404, 409, 411, 429, 500, 502, 503, 599]
)
def test_every_other_answer_is_tried_again_redirects_too(status: int) -> None:
    assert verdict(status) is Verdict.LATER


@pytest.mark.parametrize("wish", ["abort-message", "disable", "Disable ", "other, ABORT-MESSAGE"])
def test_a_receiver_that_refuses_may_wish_for_no_more_tries(wish: str) -> None:
    assert verdict(500, wish) is verdict(404, wish) is Verdict.NEVER
    assert verdict(200, wish) is Verdict.DONE


@pytest.mark.parametrize("wish", ["", "abort", "abort-message2", "x-disable", "abort-message disable"])
def test_any_other_wish_is_ignored(wish: str) -> None:
    assert verdict(500, wish) is Verdict.LATER


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("0", 0.0), ("120", 120.0), ("120.5", 120.5), ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0)),
        *(("Wed, 21 Oct 2015 07:27:00 GMT", 0.0), ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0)),
        *(("Wed Oct 21 07:28:30 2015", 30.0), ("Wed, 21 Oct 2015 09:28:30 +0200", 30.0)),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float) -> None:
    assert parse_retry_after(value, 1445412480.0) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "-1", "+1", "1e3", "soon", "12 s", "0x10", "1_000", "inf", "nan", "1" * 40, "\u0661\u0662", "12\n"),
        *("Fri, 31 Dec 9999 23:59:59 GMT, 120", "Fri, 31 Dec 9999 23:59:59 GMT 1", "x Fri, 31 Dec 9999 23:59:59 GMT"),
        *("Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 GMT", "21 Oct", "a, b c d e:f:g h", ",", "\0"),
    ],
    ids=repr,
)
def test_a_malformed_retry_after_is_ignored(value: str) -> None:
    assert parse_retry_after(value, 1445412480.0) is None


def test_a_step_is_taken_again_after_5_seconds_and_then_ever_later_up_to_some_minutes() -> None:
    for free, pause in ((0, 5.0), (1, 10.0), (5, 160.0), (6, 320.0), (7, 320.0), (5000, 320.0)):
        pauses = [pause_when_unsent(free, random.Random(seed)) for seed in range(100)]
        assert pause * (1 - JITTER) <= min(pauses) < pause < max(pauses) <= pause * (1 + JITTER)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_receiver_is_heard_between_the_schedule_s_pause_and_twice_that(status: int) -> None:
    spread = random.Random(7)
    for asked, factors in ((1, (0.8, 1.2)), (450, (450 / 300, 450 / 300)), (10**6, (1.6, 2.4))):
        slow = slowdown(status, str(asked), 0.0)
        pauses = [pause_before(3, SCHEDULE, spread, slow) or 0.0 for _ in range(500)]
        assert all(factors[0] * 300 <= pause <= factors[1] * 300 for pause in pauses), asked


@pytest.mark.parametrize("status", [200, 301, 400, 410, 500, 501])
def test_any_other_receiver_has_no_say_in_the_pause(status: int) -> None:
    assert slowdown(status, "450", 0.0) == Slowdown()


def test_too_many_requests_wait_a_minute_unless_the_whole_schedule_is_quicker() -> None:
    spread = random.Random(7)
    slow = slowdown(429, "", 0.0)
    assert pause_before(2, SCHEDULE, spread, slow) == LEAST_PAUSE == 60.0
    assert pause_before(1, (0.0, 2.0), spread, slow) == 2.0
    assert pause_before(2, SCHEDULE, spread, slowdown(429, "90", 0.0)) == 90.0
    assert pause_before(2, SCHEDULE, spread, slowdown(429, "900", 0.0)) == 120.0


@pytest.mark.parametrize("status", [502, 503, 504])
def test_one_that_is_unavailable_for_a_moment_is_tried_again_as_the_schedule_says(status: int) -> None:
    """Fewer go there at once, which its lane sees to."""
    pause = pause_before(2, SCHEDULE, random.Random(7), slowdown(status, "", 0.0))
    assert pause is not None
    assert 4.0 <= pause <= 6.0


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_pause_is_that_of_the_schedule_give_or_take_a_fifth(step: int) -> None:
    spread = random.Random(7)
    pauses = [pause_before(step, SCHEDULE, spread) for _ in range(2000)]
    middle = SCHEDULE[step - 1]
    numbers = [pause for pause in pauses if pause is not None]
    assert len(numbers) == len(pauses)
    assert JITTER == 0.2
    assert all(middle * 0.8 <= pause <= middle * 1.2 for pause in numbers)
    # The whole width is used, evenly.
    assert min(numbers) <= middle * 0.81
    assert max(numbers) >= middle * 1.19
    assert abs(sum(numbers) / len(numbers) - middle) <= middle * 0.02


@pytest.mark.parametrize("step", [4, 5, 100])
def test_after_the_schedule_there_is_no_other_try(step: int) -> None:
    assert pause_before(step, SCHEDULE, random.Random(7)) is None


@pytest.mark.parametrize(
    ("status", "wish", "call"),
    [
        *((200, "", Call.ANSWERED), (204, "disable", Call.UNWANTED), (299, "abort-message", Call.ANSWERED)),
        *((410, "", Call.GONE), (410, "abort-message", Call.GONE), (400, "Disable", Call.UNWANTED)),
        *((500, "abort-message, disable", Call.UNWANTED), (400, "abort-message", Call.DECLINED)),
        *((301, "", Call.FAILED), (404, "", Call.FAILED), (429, "", Call.FAILED), (503, "later", Call.FAILED)),
        (None, "", Call.FAILED),
    ],
)
def test_a_try_says_of_its_endpoint_whether_it_answers_and_what_it_wants(
    status: int | None, wish: str, call: Call
) -> None:
    assert call_of(status, wish) is call


@pytest.mark.parametrize(("timeout", "seconds"), [(0.5, 1.5), (4, 5), (20, 5)])
def test_tries_have_all_their_time_when_their_worker_stops_but_no_more_than_platforms_leave(
    timeout: float, seconds: float
) -> None:
    assert drain_seconds(timeout) == seconds
