"""Examples of Ximilar's bodies, as the vendor's page shows them; a test holds them against the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JSON = dict[str, Any]

ID = "2e9b43f2-61be-4aaa-8a6a-a74fc0f80b57"
URL = "https://images.ximilar.com/examples/fashion_products/01_1149810256_SI_00.jpeg"
PIXELS = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAG0lEQVR42mOUi1rAgA0wMeAApEswfqjQoLUdAHipArfQ1sRcAAAAAElFTkSuQmCC"
)
"""A PNG of 8 x 8 pixels, in base64."""

REQUESTS: Mapping[str, tuple[str, JSON]] = {
    "inline": (
        "A picture sent along; works as it stands",
        {"type": "upscaler", "endpoint": "upscale_2x", "records": [{"_base64": PIXELS}]},
    ),
    "url": (
        "Pictures by address, a setting and keys of your own",
        {
            "type": "upscaler",
            "endpoint": "upscale_4x",
            "mode": "high_fidelity",
            "records": [{"_url": URL, "_id": "front", "sku": 4711}],
        },
    ),
    "webhook": (
        "Have the result posted to you",
        {
            "type": "upscaler",
            "endpoint": "upscale_2x",
            "records": [{"_url": URL}],
            "webhook": {"endpoint": "https://example.com/upscaled", "headers": {"X-Order": "4711"}},
        },
    ),
}
"""Name -> what it shows, and the body of a POST."""

_HEAD: JSON = {
    "id": ID,
    "type": "upscaler",
    "created": "2022-03-02T13:38:22.784359Z",
    "workspace": "88431559-20ea-4d43-98a6-7a1cb38160e3",
}
_RECORD = {"_id": "2e9b43f2-61be-4aaa-8a6a-a74fc0f80b57", "_url": URL}
_RESPONSE = {
    "records": [
        {
            **_RECORD,
            "_width": 800,
            "_height": 1200,
            "_upscaled_width": 1600,
            "_upscaled_height": 2400,
            "_upscaled_image_url": "http://localhost:8000/media/out/upscaled.jpg?expires=1646487502&signature=mac",
            "_method": "learned",
            "_model": "robust_2x 2",
            "_status": {"code": 200, "text": "OK", "request_id": "b61e7879-8038-445b-a617-de4be5b2e447"},
        }
    ]
}
ACCEPTED: JSON = {
    **_HEAD,
    "status": "CREATED",
    "request": {"type": "upscaler", "endpoint": "upscale_2x", "records": [{"_url": URL}]},
}
DETAILS: JSON = {
    **_HEAD,
    "status": "DONE",
    "modified": "2022-03-02T13:38:24.102938Z",
    "request": {"type": "upscaler", "endpoint": "upscale_2x", "records": [_RECORD]},
    "response": _RESPONSE,
}
PAGE: JSON = {"count": 1, "next": None, "previous": None, "results": [{**_HEAD, "status": "DONE"}]}
EVENT: JSON = {"status": "DONE", "id": ID, "type": "upscaler", "response": _RESPONSE}
