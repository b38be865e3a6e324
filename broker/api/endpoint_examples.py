"""Examples of webhook endpoints and test pings; a test holds them against the models."""

from __future__ import annotations

from broker.api.own_examples import JSON, WORKSPACE

ENDPOINT_ID = "5d41402abc4b2a76b9719d911017c592"
ENABLED: JSON = {
    "id": ENDPOINT_ID,
    "workspace": WORKSPACE["workspace"],
    "url": "https://hooks.example.com/images",
    "state": "healthy",
    "reason": None,
    "since": "2022-03-03T08:02:11.512000Z",
    "failures": 0,
    "failing_since": None,
    "breaker": "closed",
    "open_until": None,
    "pending": 3,
    "created": "2022-03-02T13:38:24.102000Z",
}
FAILING: JSON = {
    **ENABLED,
    "state": "failing",
    "reason": "4 tries in a row failed",
    "since": "2022-03-02T15:10:55.020000Z",
    "failures": 17,
    "failing_since": "2022-03-02T14:38:20.300000Z",
    "breaker": "open",
    "open_until": "2022-03-03T08:02:30.120000Z",
    "pending": 20,
}
DISABLED: JSON = {
    **ENABLED,
    "state": "disabled",
    "reason": "it answered 410 Gone",
    "since": "2022-03-02T15:10:55.020000Z",
    "failures": 2,
    "failing_since": "2022-03-02T15:08:20.300000Z",
    "pending": 0,
}
ENDPOINTS: JSON = {"count": 1, "next": None, "previous": None, "results": [FAILING]}
TEST: JSON = {"url": "https://hooks.example.com/images", "headers": {"X-Mine": "a value of yours"}}
TESTED: JSON = {
    "id": "01a20d5c-8b17-7122-b376-fd2fac79941d",
    "status_code": 204,
    "error": None,
    "duration_ms": 84,
    "response": "",
    "verdict": "done",
}
TEST_FAILED: JSON = {
    **TESTED,
    "status_code": None,
    "error": "timeout",
    "duration_ms": 20002,
    "verdict": "later",
}
