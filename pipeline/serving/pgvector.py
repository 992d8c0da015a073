"""A release in PostgreSQL: vectors beside whatever else an application has there, searched with pgvector.

Tables `item_vectors (item_id, embedding, source, …)`, `user_vectors (user_id, embedding)` and one row of
`vectors_release`. The score is the inner product, which pgvector spells `<#>` (negated, so that ascending order is best
first):

    SELECT item_id FROM item_vectors ORDER BY embedding <#> (SELECT embedding FROM user_vectors WHERE user_id = 'U1')
    LIMIT 20
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.addresses import ESCAPES
from pipeline.catalogue.catalogue import Catalogue
from pipeline.errors import InputError, StoreError
from pipeline.faults.find import raise_fault
from pipeline.progress import Reporter
from pipeline.registry.champion import choose_release
from pipeline.serving.pgvector_rows import TABLES, Rows
from pipeline.serving.pgvector_state import State, Target
from pipeline.serving.pgvector_table import Merged, Table
from pipeline.storage.layout import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_SCHEMA = re.compile("[a-z_][a-z0-9_]{0,62}")
_LOCK = 7_237_201  # any number, the same for all who load


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What `to-pgvector` tells."""

    run_id: str
    digest: str
    changed: bool
    increment: int | None
    """Number of the increment whose items are among the rows; None where there is none."""
    rows: dict[str, int]
    """By table, as they are now."""
    written: dict[str, int]
    """Rows that are new or other than before, by table."""
    removed: dict[str, int]


def load_release(
    store: Store,
    name: str | None,
    dsn: str,
    reporter: Reporter,
    schema: str | None = None,
    *,
    delta: bool = False,
    catalogue: Catalogue | None = None,
    columns: tuple[str, ...] = (),
    keys: "Sequence[Ed25519PublicKey]" = (),
) -> Copied:
    """Have the tables hold a release (default the champion's) and its increment, all in one transaction.

    Rows go into a staging table, and only what differs goes on into the tables, which stay the ones they are: GRANTs,
    policies and views on them stand. Readers never wait; they see the old vectors until all new ones are there. A
    release that is loaded already is left as it is. In a `schema` of its own, which is made where it is missing, each
    of several shops has its tables.

    Args:
        delta: read nothing of the release but what its `delta/` names.
        catalogue: where the `columns` come from that `item_vectors` has besides.
        keys: of which one's owner must have signed release and increment; none: they need not be signed.

    Raises `InputError` without an address, for what cannot name a schema, where the tables are not at the delta's base,
    or where the database refuses; `PassingError` where it does not answer; `StoreError` where rows are missing in the
    tables that the delta stands on, or something is not signed.
    """
    if not dsn:
        raise InputError("MICROREC_PGVECTOR_DSN is not set; give it an address such as postgresql://user@host/database")
    if schema and not _SCHEMA.fullmatch(schema):
        raise InputError(f"--schema {schema!r}: use small letters, digits and _, beginning with a letter or _")
    target = Target.of(store, choose_release(store, name), columns, keys)
    _require_readable(dsn)
    with _connected(dsn) as connection:
        with connection, connection.cursor() as cursor:
            at = _prepare(cursor, schema)
            there = _loaded(cursor, at)
            tables = {name: Table(cursor, at, name) for name in TABLES}
            merged: dict[str, Merged] = {}
            if there != target.state:
                read = target.reader(there, tables["item_vectors"].count, delta=delta)
                for table in tables.values():
                    merged[table.name] = _fill(table, read(table.name, catalogue, columns), target)
                _record(cursor, at, target)
            counts = {name: table.count() for name, table in tables.items()}
        if merged:
            _clean(connection, at)
    done = "loaded" if merged else "was there already"
    counted = ", ".join(f"{count} {table}" for table, count in counts.items())
    reporter.say(f"release {target.release.name} {done}: {counted}")
    return Copied(
        run_id=target.release.name,
        digest=target.state.digest,
        changed=bool(merged),
        increment=target.state.number,
        rows=counts,
        written={name: one.written for name, one in merged.items()},
        removed={name: one.removed for name, one in merged.items()},
    )


@contextmanager
def _connected(dsn: str) -> Iterator[Any]:
    """A connection, and what the database says of a statement as one message."""
    import psycopg2

    try:
        connection = psycopg2.connect(dsn)
    except psycopg2.OperationalError as error:
        raise_fault(error, "MICROREC_PGVECTOR_DSN")
    try:
        yield connection
    except psycopg2.errors.FeatureNotSupported as error:  # a view on a column whose type is to change
        detail = f"{error.diag.message_primary}; {error.diag.message_detail or ''}".rstrip("; ")
        raise InputError(
            f"MICROREC_PGVECTOR_DSN: the release has vectors or ids of another type than the tables ({detail}); "
            "drop the view and make it again after the load, or load into another --schema"
        ) from error
    except psycopg2.Error as error:
        raise_fault(error, "MICROREC_PGVECTOR_DSN")
    finally:
        connection.close()


def _require_readable(dsn: str) -> None:
    """Raise `InputError` for an address of which PostgreSQL's library would take a part of the password for a host."""
    import psycopg2.extensions

    try:
        parts = psycopg2.extensions.parse_dsn(dsn)
    except psycopg2.ProgrammingError:  # its words repeat the address
        parts = {"host": "@"}
    if any("@" in parts.get(part, "") for part in ("host", "port", "dbname")):
        raise InputError(f"MICROREC_PGVECTOR_DSN cannot be read; in a user's name or password write {ESCAPES}")


def _prepare(cursor: Any, schema: str | None) -> str:
    """One loader at a time; the extension, the schema and the record. Returns the schema as a prefix."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'")
    if not cursor.fetchall():
        cursor.execute("CREATE EXTENSION vector")
    at = f"{schema}." if schema else ""
    if schema:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema])
        if not cursor.fetchall():
            cursor.execute(f"CREATE SCHEMA {schema}")
    Table(cursor, at, "vectors_release").ensure({"run_id": "text", "digest": "text", "loaded_at": "timestamptz"}, None)
    Table(cursor, at, "vectors_release").add_columns(["columns", "increment"])
    return at


def _loaded(cursor: Any, at: str) -> State | None:
    """What stands there; an earlier version's has no columns, and no increment."""
    cursor.execute(
        f"SELECT run_id, digest, coalesce(columns, 'none recorded'), increment::bigint FROM {at}vectors_release"
    )
    rows = cursor.fetchall()
    return State(*rows[0]) if len(rows) == 1 else None


def _record(cursor: Any, at: str, target: Target) -> None:
    state = target.state
    cursor.execute(f"DELETE FROM {at}vectors_release")
    cursor.execute(
        f"INSERT INTO {at}vectors_release (run_id, digest, columns, increment, loaded_at) "
        "VALUES (%s, %s, %s, %s, now())",
        [state.run_id, state.digest, state.columns, state.number and str(state.number)],
    )


def _fill(table: Table, rows: Rows | None, target: Target) -> Merged:
    if rows is None:
        return Merged(written=0, removed=0)
    table.ensure(rows.types, rows.key)
    table.add_columns(rows.texts)
    merged = table.merge(rows)
    count, expected = table.count(), target.expected(rows.source)
    if count != expected:
        raise StoreError(
            f"{table.name} would have {count} rows, the release has {expected}: somebody else has changed the table; "
            "load the release whole, without --delta"
        )
    if table.name == "item_vectors":
        table.index()
    return merged


def _clean(connection: Any, at: str) -> None:
    """Give the room of replaced rows back, also in the index; readers do not wait."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name in TABLES:
            cursor.execute(f"VACUUM (ANALYZE) {at}{name}")
