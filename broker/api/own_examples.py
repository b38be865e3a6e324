"""Examples of our own bodies; a test holds them against the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.api.delivery_options import BulkReplayOptions
from broker.api.own_options import BulkRetryOptions, Options, RetryOptions, RotateOptions
from broker.api.ximilar_examples import ID

JSON = dict[str, Any]

REQUESTS: Mapping[type[Options], Mapping[str, JSON]] = {
    RetryOptions: {"What failed": {}, "All records": {"all": True}},
    BulkRetryOptions: {"What failed since a certain time": {"outcome": "failed", "since": "2022-03-02T00:00:00Z"}},
    BulkReplayOptions: {
        "What failed since a certain time": {"what": "failed", "since": "2022-03-02T00:00:00Z"},
        "What one endpoint missed": {
            "what": "missing",
            "since": "2022-03-02T00:00:00Z",
            "until": "2022-03-03T00:00:00Z",
            "endpoint": "3f0a9c5d7be14a62b8f1d0c2e4a69857",
        },
    },
    RotateOptions: {"A shared secret": {}, "A key pair": {"kind": "v1a"}},
}
"""Options -> what an example of them shows, and the body."""

BATCH: JSON = {
    "id": ID,
    "external_id": None,
    "workspace": "88431559-20ea-4d43-98a6-7a1cb38160e3",
    "dialect": "ximilar",
    "type": "upscaler",
    "endpoint": "upscale_2x",
    "status": "DONE",
    "outcome": "partial",
    "run": 1,
    "created": "2022-03-02T13:38:22.784000Z",
    "modified": "2022-03-02T13:38:24.102000Z",
    "finished": "2022-03-02T13:38:24.102000Z",
    "counts": {"records": 2, "finished": 2, "succeeded": 1, "failed": 1},
}
WITH_RECORDS: JSON = {
    **BATCH,
    "records": [
        {"index": 0, "id": "front", "code": 200, "text": "OK"},
        {"index": 1, "id": "back", "code": 404, "text": "The image's server answered 404."},
    ],
}
PAGE: JSON = {"count": 1, "next": None, "previous": None, "results": [BATCH]}
CANCELLED: JSON = {**BATCH, "outcome": "cancelled"}
WAITING: JSON = {
    **BATCH,
    "status": "CREATED",
    "outcome": None,
    "finished": None,
    "counts": {"records": 2, "finished": 0, "succeeded": 0, "failed": 0},
}
RETRIED: JSON = {
    **WAITING,
    "run": 2,
    "counts": {"records": 2, "finished": 1, "succeeded": 1, "failed": 0},
}
PAUSED: JSON = {**WAITING, "status": "PAUSED"}
RETRIED_MANY: JSON = {
    "retried": 12,
    "refused": 1,
    "refusals": [{"id": ID, "reason": "A picture that was sent along is no longer kept."}],
}
WORKSPACE: JSON = {"workspace": "88431559-20ea-4d43-98a6-7a1cb38160e3", "paused": True}
SECRETS: JSON = {
    "workspace": "88431559-20ea-4d43-98a6-7a1cb38160e3",
    "secrets": [
        {"kind": "v1a", "secret": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "signs_until": None},
        {
            "kind": "v1",
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "signs_until": "2022-03-03T13:38:22.784000Z",
        },
    ],
}
