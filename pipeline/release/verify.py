"""Re-checking a release: every digest, count and schema, and the index against the vectors."""

from dataclasses import dataclass

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from pipeline.columns import CONTENT_EMBEDDING, EMBEDDING, ITEM_ID, NEIGHBOUR_ID, USER_ID
from pipeline.errors import DamagedError, StoreError
from pipeline.release.delta import delta_problems
from pipeline.release.format import (
    FOOTER_DIGEST,
    INDEX,
    ITEM_EMBEDDINGS,
    ITEM_GRAPH,
    SEEN,
    TABLES_OF,
    USER_VECTORS,
    expected_columns,
    read_table,
    release_digest,
)
from pipeline.release.manifest import MANIFEST, FileEntry, Manifest, manifest_of, mend_of, read_manifest
from pipeline.release.signature import SIGNATURE
from pipeline.storage.arrow import arrow_filesystem, vectors_of
from pipeline.storage.files import SUCCESS, file_sha256, list_files, local_copy
from pipeline.storage.layout import Store


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A release that is what its manifest says."""

    release: str
    """Its folder."""
    digest: str
    files: int
    counts: dict[str, int]


def verify_release(store: Store, run_id: str, manifest_sha256: str | None = None) -> Verified:
    """Check a published release; its manifest's sha256 is what refers to it has recorded.

    Raises `DamagedError` that lists every problem found.
    """
    release = store.release(run_id)
    manifest = read_manifest(release, manifest_sha256)
    if manifest.run_id != run_id:
        raise DamagedError(f"release {release}: its manifest belongs to run {manifest.run_id!r}")
    return check_release(release)


def check_release(release: UPath) -> Verified:
    """Check the files of a release folder, published or about to be; raises as `verify_release`."""
    manifest = manifest_of(release)
    problems = _check_files(release, manifest)
    if not problems:  # damaged files are not worth reading
        problems = _check_content(release, manifest)
    if problems:
        raise DamagedError(f"release {release} does not verify: {'; '.join(problems)}. To mend it, {mend_of(release)}")
    return Verified(
        release=str(release), digest=manifest.release_digest, files=len(manifest.files), counts=manifest.counts
    )


def _check_files(release: UPath, manifest: Manifest) -> list[str]:
    listed = {entry.path: entry for entry in manifest.files}
    there = set(list_files(release)) - {MANIFEST, SIGNATURE, SUCCESS}
    problems = [f"{name} is not in the manifest" for name in sorted(there - set(listed))]
    for name, entry in sorted(listed.items()):
        if name not in there:
            problems.append(f"{name} is missing")
        elif file_sha256(release / name) != entry.sha256:
            problems.append(f"{name} has another sha256 than the manifest says")
        elif name.endswith(".parquet"):
            problems += _check_footer(release / name, entry, manifest.release_digest)
    return problems


def _check_footer(path: UPath, entry: FileEntry, digest: str) -> list[str]:
    filesystem, name = arrow_filesystem(path)
    try:
        metadata = pq.read_metadata(name, filesystem=filesystem)
    except pa.ArrowInvalid as error:
        return [f"{entry.path} cannot be read as Parquet ({error})"]
    problems = []
    if metadata.num_rows != entry.rows:
        problems.append(f"{entry.path} has {metadata.num_rows} rows, the manifest says {entry.rows}")
    if (metadata.metadata or {}).get(FOOTER_DIGEST) != digest.encode():
        problems.append(f"{entry.path} carries another release digest in its footer")
    return problems


def _check_content(release: UPath, manifest: Manifest) -> list[str]:
    tables, problems = {}, []
    for name in TABLES_OF[manifest.schema_version]:
        try:
            tables[name] = read_table(release, name)
        except StoreError as error:
            problems.append(str(error))
    problems += [problem for name, table in tables.items() for problem in _check_table(name, table, manifest)]
    if problems:
        return problems
    if release_digest(tables, manifest.schema_version) != manifest.release_digest:
        problems.append("the tables' content gives another release digest than the manifest says")
    known = tables[ITEM_EMBEDDINGS].column(ITEM_ID).combine_chunks()
    for column in (ITEM_ID, NEIGHBOUR_ID):
        unknown = pc.invert(pc.is_in(tables[ITEM_GRAPH].column(column), value_set=known))
        if pc.any(unknown).as_py():
            problems.append(f"{ITEM_GRAPH}.{column} names items that {ITEM_EMBEDDINGS} lacks")
    if manifest.space and manifest.space.champion:
        problems += delta_problems(release, tables)
    if SEEN in tables:
        problems += _check_seen(tables)
    return problems + _check_index(release, vectors_of(tables[ITEM_EMBEDDINGS], EMBEDDING))


def _check_table(name: str, table: pa.Table, manifest: Manifest) -> list[str]:
    missing = [column for column in expected_columns(name) if column not in table.column_names]
    if missing:
        return [f"{name} lacks the columns {missing}"]
    problems = [f"{name}.{column} holds nulls" for column in table.column_names if table.column(column).null_count]
    if table.num_rows != manifest.counts.get(name):
        problems.append(f"{name} has {table.num_rows} rows, the manifest says {manifest.counts.get(name)}")
    for column in {EMBEDDING, CONTENT_EMBEDDING} & set(table.column_names):
        kind = table.schema.field(column).type
        if (
            not pa.types.is_fixed_size_list(kind)
            or kind.value_type != pa.float32()
            or kind.list_size != manifest.embedding_dim
        ):
            problems.append(f"{name}.{column} is {kind}, expected FixedSizeList<float32>[{manifest.embedding_dim}]")
        elif not np.isfinite(vectors_of(table, column)).all():
            problems.append(f"{name}.{column} holds NaN or infinite values")
    key = {ITEM_EMBEDDINGS: ITEM_ID, USER_VECTORS: USER_ID}.get(name)
    if key and len(pc.unique(table.column(key))) != table.num_rows:
        problems.append(f"{name}.{key} is not unique")
    return problems


def _check_seen(tables: dict[str, pa.Table]) -> list[str]:
    """Users and items are those of the release, and no pair stands there twice."""
    problems = []
    for column, table in ((USER_ID, USER_VECTORS), (ITEM_ID, ITEM_EMBEDDINGS)):
        known = tables[table].column(column).combine_chunks()
        if not pc.all(pc.is_in(tables[SEEN].column(column), value_set=known), min_count=0).as_py():
            problems.append(f"{SEEN}.{column} names what {table} lacks")
    pairs = tables[SEEN].select([USER_ID, ITEM_ID])
    if pairs.group_by([USER_ID, ITEM_ID]).aggregate([]).num_rows != pairs.num_rows:
        problems.append(f"{SEEN} has a user's item twice")
    return problems


def _check_index(release: UPath, item_ID: np.ndarray) -> list[str]:
    if not (release / INDEX).exists():
        return [f"{INDEX} is missing"]
    with local_copy(release / INDEX) as file:
        index = faiss.read_index(str(file))
    if index.ntotal != len(item_ID) or index.d != item_ID.shape[1]:
        return [f"{INDEX} holds {index.ntotal} vectors of {index.d}, expected {len(item_ID)} of {item_ID.shape[1]}"]
    is_exact = isinstance(index, (faiss.IndexFlat, faiss.IndexHNSWFlat))  # the others keep codes of the vectors
    if index.metric_type != faiss.METRIC_INNER_PRODUCT or (
        is_exact and not np.array_equal(index.reconstruct_n(0, index.ntotal), item_ID)
    ):
        return [f"{INDEX} does not hold the vectors of {ITEM_EMBEDDINGS} under the inner product"]
    return []
