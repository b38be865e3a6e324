"""What a type may not say about itself."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from handlers.contract import Params, Spec


class Body(BaseModel):
    """Of a document or an item."""


def test_a_default_endpoint_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="default endpoint 'b' is not an endpoint"):
        Spec("type", {"a": Params}, "b", "nowhere:Nothing", "Nothing.")


def test_a_kind_of_documents_and_of_items_is_refused_for_references_could_not_tell() -> None:
    with pytest.raises(ValueError, match="type: flow is a kind of documents and of items"):
        Spec(
            "type",
            {"a": Params},
            "a",
            "nowhere:Nothing",
            "Nothing.",
            documents={"flow": Body, "menu": Body},
            items={"flow": Body, "card": Body},
        )
