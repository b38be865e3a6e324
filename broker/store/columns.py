"""Types of columns that are not the same on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, String, TypeDecorator
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
