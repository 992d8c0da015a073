"""A release in PostgreSQL: vectors beside whatever else an application has there, searched with pgvector.

Tables `item_vectors (item_id, embedding)`, `user_vectors (user_id, embedding)` and one row of `vectors_release`. The
score is the inner product, which pgvector spells `<#>` (negated, so that ascending order is best first):

    SELECT item_id FROM item_vectors ORDER BY embedding <#> (SELECT embedding FROM user_vectors WHERE user_id = 'U1')
    LIMIT 20
"""

import io
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
_LOCK = 7_237_201  # any number, the same for all who load


def load_release(store: Store, name: str | None, dsn: str, reporter: Reporter) -> dict[str, Any]:
    """Replace the tables by those of a release (default the champion's), all in one transaction.

    Readers see the old vectors until all new ones are there. A release that is loaded already is left as it is.

    Raises `InputError` without an address or where the database refuses, `PassingError` where it does not answer.
    """
    import psycopg2

    if not dsn:
        raise InputError("MICROREC_PGVECTOR_DSN is not set; give it an address such as postgresql://user@host/database")
    release = choose_release(store, name)
    digest = read_manifest(release).release_digest
    try:
        connection = psycopg2.connect(dsn)
    except psycopg2.OperationalError as error:
        raise_fault(error, "MICROREC_PGVECTOR_DSN")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        cursor.execute("CREATE TABLE IF NOT EXISTS vectors_release (run_id text, digest text, loaded_at timestamptz)")
        cursor.execute("SELECT digest FROM vectors_release")
        changed = cursor.fetchall() != [(digest,)]
        if changed:
            counts = {table: _replace(cursor, table, release) for table in TABLES}
            cursor.execute("DELETE FROM vectors_release")
            cursor.execute("INSERT INTO vectors_release VALUES (%s, %s, now())", [release.name, digest])
        else:
            counts = {table: _count(cursor, table) for table in TABLES}
    connection.close()
    done = "loaded" if changed else "was there already"
    reporter.say(f"release {release.name} {done}: {', '.join(f'{count} {table}' for table, count in counts.items())}")
    return {"run_id": release.name, "digest": digest, "changed": changed, "rows": counts}


def _replace(cursor: Any, table: str, release: Any) -> int:
    """Fill a new table, index it, and put it in the old one's place."""
    source, key = TABLES[table]
    rows = read_table(release, source)
    kind = "bigint" if pa.types.is_integer(rows.schema.field(key).type) else "text"
    dim = rows.schema.field(EMBEDDING).type.list_size
    cursor.execute(f"CREATE TABLE new_{table} ({key} {kind} NOT NULL, embedding vector({dim}) NOT NULL)")
    for text in _copy_texts(rows.select([key, EMBEDDING]), key):
        cursor.copy_expert(f"COPY new_{table} FROM STDIN", text)
    cursor.execute(f"ALTER TABLE new_{table} ADD PRIMARY KEY ({key})")
    if table == "item_vectors":
        cursor.execute(f"CREATE INDEX ON new_{table} USING hnsw (embedding vector_ip_ops)")
    cursor.execute(f"DROP TABLE IF EXISTS {table}")
    cursor.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
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
