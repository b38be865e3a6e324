"""Times as `/api` takes them, and as the commands send them there."""

from __future__ import annotations

import re
import time

import pytest

from broker.api.moments import IN_SECONDS, LATEST, NO_TIME, asked_moment
from broker.cli.arguments import moment
from broker.errors import Invalid


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("1000000000000", 10**12),
        (str(LATEST), LATEST),
        ("2026-11-24T12:00:00.5Z", 1_795_521_600_500),
        ("1970-01-01T00:00:01+00:00", 1000),
    ],
)
def test_time_is_read_in_milliseconds(text: str, milliseconds: int) -> None:
    assert asked_moment({"since": text}, "since") == milliseconds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *[("1", IN_SECONDS), ("1795521600", IN_SECONDS), ("999999999999", IN_SECONDS)],
        *[("-1", NO_TIME), ("2026-11-24", NO_TIME), ("1e12", NO_TIME), (str(LATEST + 1), NO_TIME)],
    ],
)
def test_number_of_seconds_is_refused_as_such(text: str, problem: str) -> None:
    with pytest.raises(Invalid, match=re.escape(problem)) as refused:
        asked_moment({"since": text}, "since")
    assert refused.value.fields == {"since": [problem]}


@pytest.mark.parametrize("ago", ["0s", "3d", "2000w", "999999w"])
def test_api_takes_how_long_ago_as_the_commands_send_it(ago: str) -> None:
    seconds = int(ago[:-1]) * {"s": 1, "d": 86_400, "w": 604_800}[ago[-1]]
    read = asked_moment({"since": str(moment(ago))}, "since")
    assert read is not None
    assert abs(read - max(0, (time.time() - seconds) * 1000)) < 60_000


def test_commands_send_a_number_as_a_number() -> None:
    iso = "2026-11-24T12:00:00Z"
    assert [moment("1795521600000"), moment(iso), moment(None)] == [1_795_521_600_000, iso, None]


@pytest.mark.parametrize(("text", "problem"), [("tomorrow", NO_TIME), ("2y", NO_TIME), ("1795521600", IN_SECONDS)])
def test_commands_name_all_forms_of_a_time_that_they_take(text: str, problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        moment(text, "until")
    assert str(refused.value) == f"until: {problem} Or how long ago it was: 30s, 15m, 2h, 3d, 1w."
