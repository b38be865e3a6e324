"""Statements in the driver's own words: it takes tuples as they are, which is three times as fast as Core."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Dialect, Insert
from sqlalchemy.sql.compiler import SQLCompiler


def driver_text(statement: Insert, dialect: Dialect, columns: Sequence[str]) -> str:
    """The text of an INSERT for `exec_driver_sql`, with parameters for `columns`, in their order."""
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup == list(columns), compiled.positiontup
    return str(compiled)
