"""The one clock of leases and due times: the database's, in whole milliseconds since 1970."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Dialect, ScalarSelect, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class DbNow(GenericFunction[int]):
    """Milliseconds since 1970 as the database sees them; on PostgreSQL moving on within a transaction."""

    name = "db_now"
    type = BigInteger()
    inherit_cache = True


db_now = DbNow
"""Written in statements like the SQL function that it stands for."""


@compiles(DbNow, "sqlite")
def _sqlite(element: DbNow, compiler: Any, **options: Any) -> str:
    return "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


@compiles(DbNow, "postgresql")
def _postgresql(element: DbNow, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


def read_clock(connection: Connection) -> int:
    """`db_now()`."""
    now: int = connection.exec_driver_sql(_now_text(connection.dialect)).scalar_one()
    return now


@lru_cache
def _now_text(dialect: Dialect) -> str:
    return str(select(db_now()).compile(dialect=dialect))


def moment(ago_ms: ColumnElement[int] | int) -> ScalarSelect[int]:
    """`ago_ms` before now, looked up once a statement: PostgreSQL searches no index for a clock that moves on."""
    return select(db_now() - ago_ms).scalar_subquery()
