"""Is a webhook genuine and fresh?

`headers` by lower-case names; `body` as raw bytes, before any parsing.
"""

import base64
import hmac
import time
from collections.abc import Mapping


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(mac)
    given = headers["webhook-signature"].split()
    return any(hmac.compare_digest(expected, one.encode()) for one in given)
