"""Rows handed to a statement as one JSON parameter, so that its text is the same for any number of rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, Subquery, Text, text
from sqlalchemy.types import TypeEngine

from broker.store.tables import Id

_CASTS: dict[type[TypeEngine[Any]], str] = {Id: "uuid", BigInteger: "bigint", Integer: "integer", Text: "text"}


def given(dialect: str, **columns: type[TypeEngine[Any]]) -> Subquery:
    """A FROM clause over the parameter `given`: a JSON array of arrays whose items are `columns`, in their order."""
    if dialect == "postgresql":
        items = ", ".join(
            f"CAST(value ->> {place} AS {_CASTS[kind]}) AS {name}" for place, (name, kind) in enumerate(columns.items())
        )
        source = "jsonb_array_elements(CAST(:given AS jsonb))"
    else:
        items = ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(columns))
        source = "json_each(:given)"
    statement = text(f"SELECT {items} FROM {source}")  # noqa: S608 - names are ours, values are bound
    return statement.columns(**{name: kind() for name, kind in columns.items()}).subquery("given")
