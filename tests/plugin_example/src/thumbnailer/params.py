"""What a web process knows of the type: its endpoint and the endpoint's parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from handlers.contract import Params, Spec


class ThumbnailParams(Params):
    """size: side of the box in pixels. fit: `inside` shows the whole picture, `cover` fills the box and cuts."""

    size: int = Field(256, ge=16, le=1024)
    fit: Literal["inside", "cover"] = "inside"


SPEC = Spec(
    type="thumbnailer",
    endpoints={"thumbnail": ThumbnailParams},
    default_endpoint="thumbnail",
    handler="thumbnailer.handler:Thumbnailer",
    summary="Makes a thumbnail that fits a square.",
    time_limit=30.0,
)
