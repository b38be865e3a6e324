"""Types of columns that are not the same on both databases, and values of ours to compare columns with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Dialect, Integer, String, TypeDecorator, literal_column
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import TypeEngine


class Id(TypeDecorator[str]):
    """A canonical UUID text: CHAR on SQLite, native on PostgreSQL."""

    impl = String(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        native: TypeEngine[Any] = UUID(as_uuid=False) if dialect.name == "postgresql" else String(36)
        return dialect.type_descriptor(native)


SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")
"""A number that the database gives to each new row; on SQLite that of the row itself."""


def constant(value: str | int) -> ColumnElement[Any]:
    """A value of ours, no one else's, in the words of a statement: a bound one tells SQLite of no partial index."""
    return literal_column(f"'{value}'" if isinstance(value, str) else str(value))
