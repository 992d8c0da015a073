"""A release that is not what its manifest says is refused, and every fault is named."""

import dataclasses
import shutil

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from pipeline.errors import StoreError
from pipeline.release.format import INDEX, TABLES, read_table, release_digest, write_table
from pipeline.release.manifest import FileEntry, read_manifest
from pipeline.release.verify import Verified, check_release, verify_release
from pipeline.storage.arrow import vector_column, vectors_of
from pipeline.storage.files import file_sha256, local_path, read_json, write_json
from pipeline.storage.layout import Store
from tests.pipeline.release_factory import DIM, NUM_ITEMS, NUM_TRAINED, NUM_USERS, list_anew, make_config, make_run

NUM_SEEN = 2 * (NUM_USERS - 1) + NUM_TRAINED
COUNTS = {"item_embeddings": NUM_ITEMS, "user_vectors": NUM_USERS, "item_graph": NUM_ITEMS, "seen": NUM_SEEN}
PART = "part-00000.parquet"
ITEMS, USERS = f"item_embeddings/{PART}", f"user_vectors/{PART}"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A release, never touched."""
    return make_run(make_config(tmp_path_factory.mktemp("published"), database=False), "r1").store


@pytest.fixture
def store(published, tmp_path):
    """A copy of its store, to be damaged."""
    shutil.copytree(local_path(published.root), tmp_path / "store")
    return Store(UPath(str(tmp_path / "store")))


@pytest.fixture
def release(store):
    return store.release("r1")


def problems(release, run_id="r1"):
    """What verification says of the release, a problem each."""
    with pytest.raises(StoreError, match="does not verify: ") as error:
        verify_release(Store(release.parent.parent), run_id)
    return (
        str(error.value).removeprefix(f"release {release} does not verify: ").partition(". To mend it, ")[0].split("; ")
    )


def change_manifest(release, **values):
    document = read_json(release / "manifest.json")
    write_json(release / "manifest.json", {**document, **values})


def put_table(release, name, table, digest=None):
    """Put another table in the place of one of the release's, its digest in the footer."""
    shutil.rmtree(local_path(release / name))
    write_table(table, local_path(release / name), digest or read_manifest(release).release_digest)
    list_anew(release)


def put_index(release, item_ID, kind=faiss.IndexFlatIP):
    index = kind(item_ID.shape[1])
    index.add(np.ascontiguousarray(item_ID, dtype=np.float32))
    faiss.write_index(index, str(release / INDEX))
    list_anew(release)


def column_with(table, column, row, value):
    """The table with another value in one row."""
    values = table.column(column).to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.array(values, table.column(column).type))


def nullable(table):
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))


def test_verify_release_undamaged_gives_what_the_manifest_says(store, release):
    manifest = read_manifest(release)
    expected = Verified(release=str(release), digest=manifest.release_digest, files=6, counts=COUNTS)
    assert verify_release(store, "r1") == expected
    assert check_release(release) == expected


def test_check_release_before_it_is_published_needs_no_marker(release):
    (release / "_SUCCESS").unlink()
    assert check_release(release).counts == COUNTS


def test_verify_release_that_is_not_there_is_named(store):
    with pytest.raises(StoreError, match=r"there is no release at .*r2"):
        verify_release(store, "r2")


def test_verify_release_under_another_name_is_refused(store, release):
    shutil.copytree(local_path(release), local_path(store.release("r2")))
    with pytest.raises(StoreError, match=r"r2: its manifest belongs to run 'r1'"):
        verify_release(store, "r2")


def test_verify_release_of_another_schema_version_is_refused(store, release):
    change_manifest(release, schema_version=3)
    with pytest.raises(StoreError, match="has schema version 3, this program reads 1 and 2"):
        verify_release(store, "r1")


@pytest.mark.parametrize("name", [ITEMS, USERS, f"item_graph/{PART}", INDEX, "report.html"])
def test_verify_release_one_byte_flipped_is_named(release, name):
    payload = bytearray((release / name).read_bytes())
    payload[len(payload) // 2] ^= 1
    (release / name).write_bytes(bytes(payload))
    assert problems(release) == [f"{name} has another sha256 than the manifest says"]


@pytest.mark.parametrize("name", [USERS, INDEX, "report.html"])
def test_verify_release_missing_file_is_named(release, name):
    (release / name).unlink()
    assert problems(release) == [f"{name} is missing"]


@pytest.mark.parametrize("name", ["user_vectors/part-00001.parquet", "notes.txt", "more/notes.txt"])
def test_verify_release_file_more_is_named(release, name):
    (release / name).parent.mkdir(exist_ok=True)
    shutil.copy(local_path(release / USERS), local_path(release / name))
    assert problems(release) == [f"{name} is not in the manifest"]


def test_verify_release_several_faults_are_all_named(release):
    (release / USERS).unlink()
    (release / INDEX).write_bytes(b"")
    (release / "notes.txt").touch()
    entries = read_json(release / "manifest.json")["files"]
    change_manifest(release, files=[{**entry, "rows": 7} if entry["path"] == ITEMS else entry for entry in entries])
    assert problems(release) == [
        "notes.txt is not in the manifest",
        "index.faiss has another sha256 than the manifest says",
        f"{ITEMS} has 30 rows, the manifest says 7",
        f"{USERS} is missing",
    ]


def test_verify_release_counts_that_the_tables_do_not_have_are_named(release):
    change_manifest(release, counts={**COUNTS, "user_vectors": 7, "item_graph": 0})
    assert problems(release) == [
        f"user_vectors has {NUM_USERS} rows, the manifest says 7",
        "item_graph has 30 rows, the manifest says 0",
    ]


def test_verify_release_count_that_the_manifest_lacks_is_named(release):
    change_manifest(release, counts={name: count for name, count in COUNTS.items() if name != "item_graph"})
    assert problems(release) == ["item_graph has 30 rows, the manifest says None"]


def test_verify_release_footer_of_another_release_is_named(release):
    put_table(release, "user_vectors", read_table(release, "user_vectors"), digest="ef" * 32)
    assert problems(release) == [f"{USERS} carries another release digest in its footer"]


def test_verify_release_part_without_footer_is_named(release):
    pq.write_table(read_table(release, "user_vectors").replace_schema_metadata(), str(release / USERS))
    list_anew(release)
    assert problems(release) == [f"{USERS} carries another release digest in its footer"]


def test_verify_release_table_of_another_release_is_named(release):
    users = read_table(release, "user_vectors")
    put_table(release, "user_vectors", users.set_column(1, "embedding", vector_column(np.ones((NUM_USERS, DIM)))))
    assert problems(release) == ["the tables' content gives another release digest than the manifest says"]


@pytest.mark.parametrize(
    ("name", "column", "value", "expected"),
    [
        ("user_vectors", "user_id", None, ["user_vectors.user_id holds nulls"]),
        ("item_embeddings", "source", None, ["item_embeddings.source holds nulls"]),
        ("item_graph", "weight", None, ["item_graph.weight holds nulls"]),
        ("user_vectors", "embedding", [np.nan] * DIM, ["user_vectors.embedding holds NaN or infinite values"]),
        ("user_vectors", "embedding", [None] * DIM, ["user_vectors.embedding holds NaN or infinite values"]),
        (
            "item_embeddings",
            "content_embedding",
            [0.0] * (DIM - 1) + [-np.inf],
            ["item_embeddings.content_embedding holds NaN or infinite values"],
        ),
        ("user_vectors", "user_id", "user-0", ["user_vectors.user_id is not unique"]),
        ("item_embeddings", "item_id", "item-0", ["item_embeddings.item_id is not unique"]),
    ],
)
def test_verify_release_value_that_may_not_be_is_named(release, name, column, value, expected):
    put_table(release, name, column_with(nullable(read_table(release, name)), column, 3, value))
    assert problems(release) == expected


def test_verify_release_null_among_the_vectors_is_named(release):
    """Arrow refuses to read such a column at all."""
    put_table(release, "user_vectors", column_with(nullable(read_table(release, "user_vectors")), "embedding", 3, None))
    (problem,) = problems(release)
    assert "user_vectors cannot be read (" in problem


@pytest.mark.parametrize("column", ["item_id", "neighbour_id"])
def test_verify_release_edge_of_an_item_that_there_is_not_is_named(release, column):
    put_table(release, "item_graph", column_with(read_table(release, "item_graph"), column, 3, "item-99"))
    digest = release_digest({name: read_table(release, name) for name in TABLES})
    change_manifest(release, release_digest=digest)
    for name in TABLES:
        put_table(release, name, read_table(release, name))
    assert problems(release) == [f"item_graph.{column} names items that item_embeddings lacks"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda seen: column_with(seen, "user_id", 3, "nobody"), "seen.user_id names what user_vectors lacks"),
        (lambda seen: column_with(seen, "item_id", 3, "item-99"), "seen.item_id names what item_embeddings lacks"),
        (lambda seen: pa.concat_tables([seen.slice(1), seen.slice(1, 1)]), "seen has a user's item twice"),
    ],
)
def test_verify_release_seen_pair_that_may_not_be_is_named(release, change, expected):
    tables = {name: read_table(release, name) for name in TABLES}
    tables["seen"] = change(tables["seen"])
    change_manifest(release, release_digest=release_digest(tables))
    for name, table in tables.items():
        put_table(release, name, table)
    assert problems(release) == [expected]


def test_verify_release_of_schema_1_has_no_seen_and_verifies(tmp_path):
    run = make_run(make_config(tmp_path, database=False), "old", schema_version=1)
    checked = verify_release(run.store, "old")
    assert read_manifest(run.store.release("old")).schema_version == 1
    assert "seen" not in checked.counts


def test_verify_release_column_that_lacks_is_named(release):
    put_table(release, "item_graph", read_table(release, "item_graph").drop_columns(["rank", "weight"]))
    assert problems(release) == ["item_graph lacks the columns ['rank', 'weight']"]


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32(), DIM + 1), pa.list_(pa.float64(), DIM), pa.list_(pa.float32())],
    ids=["longer", "doubles", "of any length"],
)
def test_verify_release_vectors_of_another_type_are_named(release, kind):
    users = read_table(release, "user_vectors")
    vectors = np.ones((NUM_USERS, kind.list_size if pa.types.is_fixed_size_list(kind) else DIM)).tolist()
    put_table(release, "user_vectors", users.set_column(1, "embedding", pa.array(vectors, kind)))
    (problem,) = problems(release)
    assert problem.startswith("user_vectors.embedding is ")
    assert problem.endswith(f"expected FixedSizeList<float32>[{DIM}]")


def test_verify_release_without_a_table_is_named(release):
    (release / USERS).unlink()
    files = [entry for entry in read_json(release / "manifest.json")["files"] if entry["path"] != USERS]
    change_manifest(release, files=files)
    assert problems(release) == [f"release {release}: user_vectors has no part-*.parquet"]


def test_verify_release_parts_of_different_types_are_named_beside_the_rest(release):
    users, graph = read_table(release, "user_vectors"), read_table(release, "item_graph")
    put_table(release, "user_vectors", users)
    put_table(release, "item_graph", graph.drop_columns(["rank"]))
    more = users.set_column(0, "user_id", pa.array(range(NUM_USERS))).replace_schema_metadata(users.schema.metadata)
    pq.write_table(more, str(release / "user_vectors/part-00001.parquet"))
    extra = FileEntry(path="user_vectors/part-00001.parquet", sha256="", bytes=0)
    manifest = read_manifest(release)
    dataclasses.replace(manifest, files=[*manifest.files, extra]).write(release)
    list_anew(release)
    unreadable, lacking = problems(release)
    assert "user_vectors cannot be read (" in unreadable
    assert lacking == "item_graph lacks the columns ['rank']"


def test_verify_release_part_that_is_no_parquet_file_is_named(release):
    (release / USERS).write_bytes(b"nothing of the kind")
    entries = read_json(release / "manifest.json")["files"]
    digest = file_sha256(release / USERS)
    change_manifest(release, files=[{**e, "sha256": digest} if e["path"] == USERS else e for e in entries])
    (problem,) = problems(release)
    assert problem.startswith(f"{USERS} cannot be read as Parquet (")


def item_vectors(release):
    return vectors_of(read_table(release, "item_embeddings"), "embedding")


def test_verify_release_index_of_other_vectors_is_named(release):
    put_index(release, item_vectors(release)[::-1])
    assert problems(release) == ["index.faiss does not hold the vectors of item_embeddings under the inner product"]


def test_verify_release_index_by_distance_is_named(release):
    put_index(release, item_vectors(release), faiss.IndexFlatL2)
    assert problems(release) == ["index.faiss does not hold the vectors of item_embeddings under the inner product"]


@pytest.mark.parametrize("part", [np.s_[1:], np.s_[:, 1:]], ids=["a vector less", "shorter vectors"])
def test_verify_release_index_of_another_size_is_named(release, part):
    vectors = item_vectors(release)[part]
    put_index(release, vectors)
    rows, dim = vectors.shape
    assert problems(release) == [f"index.faiss holds {rows} vectors of {dim}, expected 30 of 8"]


def test_verify_release_index_that_nobody_listed_and_nobody_wrote_is_named(release):
    (release / INDEX).unlink()
    files = [entry for entry in read_json(release / "manifest.json")["files"] if entry["path"] != INDEX]
    change_manifest(release, files=files)
    assert problems(release) == ["index.faiss is missing"]
