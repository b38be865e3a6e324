"""Rows handed to a statement as one JSON parameter, so that its text is the same for any number of rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Subquery, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine


def given(dialect: str, **columns: type[TypeEngine[Any]]) -> Subquery:
    """A FROM clause over the parameter `given`: a JSON array of arrays whose items are `columns`, in their order."""
    parameter = bindparam("given", type_=Text)
    if dialect == "postgresql":
        rows = func.jsonb_array_elements(cast(parameter, JSONB)).table_valued("value").render_derived()
        items: list[ColumnElement[Any]] = [
            cast(_text_at(rows.c.value, place), kind) for place, kind in enumerate(columns.values())
        ]
    else:
        rows = func.json_each(parameter).table_valued("value")
        items = [
            func.json_extract(rows.c.value, literal_column(f"'$[{place}]'"), type_=kind())
            for place, kind in enumerate(columns.values())
        ]
    return select(*(item.label(name) for item, name in zip(items, columns, strict=True))).subquery("given")


def _text_at(value: ColumnElement[Any], place: int) -> ColumnElement[Any]:
    return value.op("->>")(literal_column(str(place)))
