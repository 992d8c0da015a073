"""A release in PostgreSQL: vectors beside whatever else an application has there, searched with pgvector.

Tables `item_vectors (item_id, embedding)`, `user_vectors (user_id, embedding)` and one row of `vectors_release`. The
score is the inner product, which pgvector spells `<#>` (negated, so that ascending order is best first):

    SELECT item_id FROM item_vectors ORDER BY embedding <#> (SELECT embedding FROM user_vectors WHERE user_id = 'U1')
    LIMIT 20
"""

import io
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.columns import EMBEDDING, ITEM_ID, USER_ID
from pipeline.errors import InputError
from pipeline.faults.find import raise_fault
from pipeline.progress import Reporter
from pipeline.registry.champion import choose_release
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS, read_table
from pipeline.release.manifest import read_manifest
from pipeline.storage.arrow import vectors_of
from pipeline.storage.layout import Store

TABLES = {"item_vectors": (ITEM_EMBEDDINGS, ITEM_ID), "user_vectors": (USER_VECTORS, USER_ID)}
"""Table in the database: table of the release and its id."""
ROWS_AT_ONCE = 10_000
_SCHEMA = re.compile("[a-z_][a-z0-9_]{0,62}")
_LOCK = 7_237_201  # any number, the same for all who load


def load_release(
    store: Store, name: str | None, dsn: str, reporter: Reporter, schema: str | None = None
) -> dict[str, Any]:
    """Replace the tables by those of a release (default the champion's), all in one transaction.

    Readers see the old vectors until all new ones are there. A release that is loaded already is left as it is. In a
    `schema` of its own, which is made where it is missing, each of several shops has its tables.

    Raises `InputError` without an address, for what cannot name a schema, or where the database refuses, `PassingError`
    where it does not answer.
    """
    import psycopg2

    if not dsn:
        raise InputError("MICROREC_PGVECTOR_DSN is not set; give it an address such as postgresql://user@host/database")
    if schema and not _SCHEMA.fullmatch(schema):
        raise InputError(f"--schema {schema!r}: use small letters, digits and _, beginning with a letter or _")
    release = choose_release(store, name)
    digest = read_manifest(release).release_digest
    try:
        connection = psycopg2.connect(dsn)
    except psycopg2.OperationalError as error:
        raise_fault(error, "MICROREC_PGVECTOR_DSN")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if schema:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        at = f"{schema}." if schema else ""
        loaded = f"{at}vectors_release"
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {loaded} (run_id text, digest text, loaded_at timestamptz)")
        cursor.execute(f"SELECT digest FROM {loaded}")
        changed = cursor.fetchall() != [(digest,)]
        if changed:
            counts = {table: _replace(cursor, at, table, release) for table in TABLES}
            cursor.execute(f"DELETE FROM {loaded}")
            cursor.execute(f"INSERT INTO {loaded} VALUES (%s, %s, now())", [release.name, digest])
        else:
            counts = {table: _count(cursor, at + table) for table in TABLES}
    connection.close()
    done = "loaded" if changed else "was there already"
    reporter.say(f"release {release.name} {done}: {', '.join(f'{count} {table}' for table, count in counts.items())}")
    return {"run_id": release.name, "digest": digest, "changed": changed, "rows": counts}


def _replace(cursor: Any, at: str, table: str, release: Any) -> int:
    """Fill a new table, index it, and put it in the old one's place; `at` is the schema's prefix."""
    source, key = TABLES[table]
    rows = read_table(release, source)
    kind = "bigint" if pa.types.is_integer(rows.schema.field(key).type) else "text"
    dim = rows.schema.field(EMBEDDING).type.list_size
    cursor.execute(f"CREATE TABLE {at}new_{table} ({key} {kind} NOT NULL, embedding vector({dim}) NOT NULL)")
    for text in _copy_texts(rows.select([key, EMBEDDING]), key):
        cursor.copy_expert(f"COPY {at}new_{table} FROM STDIN", text)
    cursor.execute(f"ALTER TABLE {at}new_{table} ADD PRIMARY KEY ({key})")
    if table == "item_vectors":
        cursor.execute(f"CREATE INDEX ON {at}new_{table} USING hnsw (embedding vector_ip_ops)")
    cursor.execute(f"DROP TABLE IF EXISTS {at}{table}")
    cursor.execute(f"ALTER TABLE {at}new_{table} RENAME TO {table}")
    return int(rows.num_rows)


def _copy_texts(rows: pa.Table, key: str) -> Iterator[io.StringIO]:
    """The rows in PostgreSQL's text format, a block at a time."""
    escapes = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
    for start in range(0, rows.num_rows, ROWS_AT_ONCE):
        block = rows.slice(start, ROWS_AT_ONCE)
        ids = [str(value).translate(escapes) for value in block.column(key).to_pylist()]
        vectors = vectors_of(block, EMBEDDING)
        lines = (f"{name}\t[{','.join(map(repr, row))}]\n" for name, row in zip(ids, vectors.tolist(), strict=True))
        yield io.StringIO("".join(lines))


def _count(cursor: Any, table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM {table}")
    return int(cursor.fetchone()[0])
