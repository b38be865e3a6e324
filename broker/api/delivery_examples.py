"""Examples of how deliveries are shown; a test holds them against the models."""

from __future__ import annotations

from broker.api.own_examples import BATCH, JSON
from broker.api.ximilar_examples import ID

ENDPOINT = "3f0a9c5d7be14a62b8f1d0c2e4a69857"
_DELIVERY: JSON = {
    "id": "01960f0a-5c1e-7d2b-9a34-6f1b0c8d2e57",
    "workspace": BATCH["workspace"],
    "batch": ID,
    "run": 1,
    "event": "batch.done",
    "endpoint": ENDPOINT,
    "url": "https://hooks.example.com/images",
    "state": "exhausted",
    "attempts": 8,
    "next_try": None,
    "held": False,
    "manual": False,
    "created": "2022-03-02T13:38:24.102000Z",
    "finished": "2022-03-03T18:14:24.307000Z",
}
DELIVERY_PAGE: JSON = {"count": 1, "next": None, "previous": None, "results": [_DELIVERY]}
REPLAYED: JSON = {**_DELIVERY, "next_try": "2022-03-04T08:00:00.511000Z", "manual": True}
DELIVERED: JSON = {
    **_DELIVERY,
    "state": "delivered",
    "attempts": 2,
    "finished": "2022-03-02T13:38:29.541000Z",
    "headers": {"Authorization": "***"},
    "body": '{"status": "DONE", "id": "' + ID + '", "type": "upscaler", "response": {"records": []}}',
    "tries": [
        {
            "number": 1,
            "manual": False,
            "started": "2022-03-02T13:38:24.115000Z",
            "duration_ms": 212,
            "status_code": 503,
            "error": None,
            "response": "busy",
        },
        {
            "number": 2,
            "manual": False,
            "started": "2022-03-02T13:38:29.502000Z",
            "duration_ms": 39,
            "status_code": 204,
            "error": None,
            "response": "",
        },
    ],
}
REPLAYED_MANY: JSON = {
    "replayed": 31,
    "refused": 1,
    "refusals": [{"id": _DELIVERY["id"], "reason": f"Its endpoint {ENDPOINT} is disabled; enable it first."}],
}
