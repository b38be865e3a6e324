"""Telling a database that cannot work from a row that is wrong or a statement that is."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, PendingRollbackError, ResourceClosedError, TimeoutError

# Classes and codes of PostgreSQL's appendix A: connection, read-only after a failover, idle too long, access refused,
# database gone, rolled back by a conflict, resources, locked or not accepting connections, cancelled or shut down,
# system, internal.
_POSTGRESQL = ("08", "25006", "25P03", "25P04", "28", "3D", "40", "53", "55", "57", "58", "XX")
# SQLite's primary result codes; its driver calls these and plain mistakes alike OperationalError.
_SQLITE = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_NOLFS),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH),
        *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
    }
)


def is_outage(error: BaseException) -> bool:
    """Whether the database as a whole failed, so that the same write or read may succeed later."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        code: int = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return code & 0xFF in _SQLITE
    if not isinstance(error, DBAPIError):
        return isinstance(error, OSError | TimeoutError | PendingRollbackError | ResourceClosedError)
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    return state.startswith(_POSTGRESQL) if state else isinstance(error, InterfaceError)


def reason(error: BaseException) -> str:
    """The driver's own words for the log; the statement and its values stay out of it."""
    return str(error.orig if isinstance(error, DBAPIError) else error)[:200]
