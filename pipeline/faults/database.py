"""Faults of databases, as their drivers tell them; SQLAlchemy's errors have the driver's as their cause."""

import re

from pipeline.faults.fault import Fault, is_named, one_line

_DRIVERS = frozenset(
    (package, name)
    for package in ("psycopg2", "psycopg", "sqlite3", "pymysql", "MySQLdb", "pyodbc")
    for name in ("OperationalError", "InterfaceError")
)
_POOL = frozenset({("sqlalchemy", "TimeoutError")})
_PERMANENT = re.compile(
    "authentication failed|no password supplied|access denied|permission denied|no pg_hba.conf entry"
    "|(role|database|user) .* does not exist|unknown database|unable to open database file|readonly database"
    "|invalid (dsn|connection option|port)",
    re.IGNORECASE,
)
_OURS = re.compile("no such (table|column)|syntax error|has no column", re.IGNORECASE)
"""Not a fault of the database: a statement that it does not understand."""


def database_fault(error: BaseException, _: Fault | None) -> Fault | None:
    """What a driver's error means; None for any other, and for one that is about the statement."""
    words = one_line(error)
    if is_named(error, _POOL):
        return Fault(message=f"database: {words}", passing=True)
    if not is_named(error, _DRIVERS) or _OURS.search(words):
        return None
    if _PERMANENT.search(words):
        return Fault(message=f"database: {words}; correct its address, user or password", passing=False)
    return Fault(message=f"database: {words}", passing=True)
