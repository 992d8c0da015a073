"""On a real PostgreSQL with pgvector."""

import shutil

import numpy as np
import polars as pl
import psycopg2
import pyarrow as pa
import pytest

from pipeline.dataset.records import Evaluation
from pipeline.errors import InputError, MicrorecError, PassingError, StoreError
from pipeline.opening import open_run
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS, read_table
from pipeline.release.increment import SIGNED
from pipeline.release.signature import read_public_keys, read_signing_key, sign
from pipeline.serving.pgvector import load_release
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import local_path
from tests.pipeline.release.test_signature import write_pair
from tests.pipeline.release_factory import (
    NUM_ITEMS,
    NUM_USERS,
    give_delta,
    give_increment,
    make_config,
    make_run,
    make_tables,
    publish_release,
    quiet,
)
from tests.postgresql import postgresql


@pytest.fixture(scope="module")
def server():
    """A server; yields its address."""
    with postgresql() as address:
        yield address


@pytest.fixture
def dsn(server, request):
    """A database of the test's own."""
    name = f"d{abs(hash(request.node.name))}"
    connection = psycopg2.connect(f"{server}/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{server}/{name}"


def query(dsn, text, *values):
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(text, values)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def everything(dsn, at=""):
    items = query(dsn, f"SELECT item_id, embedding::text, source FROM {at}item_vectors ORDER BY item_id")
    return items, query(dsn, f"SELECT user_id, embedding::text FROM {at}user_vectors ORDER BY user_id")


@pytest.mark.parametrize("integer_ids", [False, True])
def test_load_release_inner_products_are_the_releases(dsn, tmp_path, integer_ids):
    run = make_run(make_config(tmp_path), "r1", integer_ids=integer_ids)
    result = load_release(run.config.open_store(), "r1", dsn, quiet())
    assert (result.changed, result.rows) == (True, {"item_vectors": NUM_ITEMS, "user_vectors": NUM_USERS})
    release = run.store.release("r1")
    users, items = read_table(release, USER_VECTORS), read_table(release, ITEM_EMBEDDINGS)
    scores = vectors_of(items, "embedding") @ vectors_of(users, "embedding")[2]
    found = query(
        dsn,
        "SELECT item_id, -(embedding <#> (SELECT embedding FROM user_vectors WHERE user_id = %s)) FROM item_vectors",
        users.column("user_id")[2].as_py(),
    )
    by_id = dict(found)
    np.testing.assert_allclose([by_id[name] for name in items.column("item_id").to_pylist()], scores, rtol=1e-5)


def test_load_release_twice_changes_nothing_and_another_replaces_all(dsn, tmp_path):
    config = make_config(tmp_path)
    make_run(config, "r1", seed=1)
    make_run(config, "r2", seed=2)
    load_release(config.open_store(), "r1", dsn, quiet())
    assert not load_release(config.open_store(), "r1", dsn, quiet()).changed
    before = query(dsn, "SELECT embedding::text FROM item_vectors ORDER BY item_id")
    assert load_release(config.open_store(), "r2", dsn, quiet()).changed
    assert query(dsn, "SELECT embedding::text FROM item_vectors ORDER BY item_id") != before
    assert query(dsn, "SELECT run_id FROM vectors_release") == [("r2",)]


def test_load_release_without_or_with_a_wrong_address_says_which_setting(tmp_path, server):
    config = make_run(make_config(tmp_path), "r1").config
    with pytest.raises(InputError, match="MICROREC_PGVECTOR_DSN is not set"):
        load_release(config.open_store(), "r1", "", quiet())
    with pytest.raises(InputError, match="password authentication failed"):
        load_release(config.open_store(), "r1", server.replace("secret", "wrong") + "/postgres", quiet())


def test_load_release_of_two_shops_keeps_each_in_its_schema(dsn, tmp_path):
    store = make_config(tmp_path).open_store()
    for run_id in ("r1", "r2"):
        make_run(make_config(tmp_path), run_id, seed=int(run_id[1]))
    load_release(store, "r1", dsn, quiet(), "books")
    assert load_release(store, "r2", dsn, quiet(), "toys").changed
    assert not load_release(store, "r1", dsn, quiet(), "books").changed
    assert query(dsn, "SELECT run_id FROM books.vectors_release UNION ALL SELECT run_id FROM toys.vectors_release") == [
        ("r1",),
        ("r2",),
    ]


def test_load_release_schema_that_cannot_be_one_is_refused(tmp_path):
    store = make_config(tmp_path).open_store()
    with pytest.raises(InputError, match="--schema 'a b'"):
        load_release(store, None, "postgresql://127.0.0.1:1/x", quiet(), "a b")


def test_load_release_keeps_the_tables_with_their_grants_and_views(dsn, tmp_path):
    config = make_config(tmp_path)
    for number in (1, 2):
        make_run(config, f"r{number}", seed=number)
    load_release(config.open_store(), "r1", dsn, quiet())
    query(
        dsn,
        "CREATE VIEW best AS SELECT item_id, embedding FROM item_vectors; DROP ROLE IF EXISTS shop; CREATE ROLE shop; "
        "GRANT SELECT ON item_vectors, best TO shop; ALTER TABLE item_vectors ADD COLUMN note text; "
        "UPDATE item_vectors SET note = 'ours' WHERE item_id = 'item-1'",
    )
    before = query(dsn, "SELECT 'item_vectors'::regclass::oid, 'user_vectors'::regclass::oid")
    loaded = load_release(config.open_store(), "r2", dsn, quiet())
    assert loaded.written["item_vectors"] == NUM_ITEMS
    assert query(dsn, "SELECT 'item_vectors'::regclass::oid, 'user_vectors'::regclass::oid") == before
    seen = query(dsn, "SET ROLE shop; SELECT item_id, embedding::text FROM best ORDER BY item_id")
    assert seen == [row[:2] for row in everything(dsn)[0]]
    load_release(config.open_store(), "r2", dsn, quiet(), "fresh")
    assert everything(dsn) == everything(dsn, "fresh.")
    assert query(dsn, "SELECT note FROM item_vectors WHERE item_id = 'item-1'") == [("ours",)]
    query(dsn, "DROP VIEW best; DROP OWNED BY shop; DROP ROLE shop")


def test_load_release_waits_for_no_reader_and_keeps_one_hnsw_index(dsn, tmp_path):
    config = make_config(tmp_path)
    for number in (1, 2):
        make_run(config, f"r{number}", seed=number)
    load_release(config.open_store(), "r1", dsn, quiet())
    reader = psycopg2.connect(dsn)
    with reader.cursor() as cursor:  # a long query, whose lock stands until it ends
        cursor.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM item_vectors, user_vectors"
        )
        impatient = f"{dsn}?options=-c%20lock_timeout%3D2000"
        assert load_release(config.open_store(), "r2", impatient, quiet()).changed
        cursor.execute("SELECT run_id FROM vectors_release")
        assert cursor.fetchall() == [("r1",)]
    reader.close()
    indexes = query(dsn, "SELECT indexdef FROM pg_indexes WHERE tablename = 'item_vectors' AND indexdef ~ 'hnsw'")
    assert len(indexes) == 1
    assert "vector_ip_ops" in indexes[0][0]


def test_load_release_has_source_and_the_columns_of_the_setting(dsn, tmp_path):
    run = make_run(make_config(tmp_path, pgvector={"columns": ["title", "categories"]}), "r1")
    ids = [f"item-{row}" for row in range(NUM_ITEMS - 1)]
    titles = ["tab\there", "null \\N", None, *(f"Title {one}" for one in ids[3:])]
    categories = [["a", "b"], *([["c"]] * (len(ids) - 1))]
    pl.DataFrame({"item_id": ids, "title": titles, "categories": categories}).write_parquet(tmp_path / "items.parquet")
    with_columns = {"catalogue": run.config.open_catalogue(), "columns": run.config.pgvector.columns}
    load_release(run.store, "r1", dsn, quiet(), **with_columns)
    rows = {row[0]: row[1:] for row in query(dsn, "SELECT item_id, source, title, categories FROM item_vectors")}
    assert rows["item-0"] == ("interactions", "tab here", "a, b")
    assert rows["item-1"] == ("interactions", "null \\N", "c")
    assert rows["item-2"] == ("interactions", None, "c")
    assert rows[f"item-{NUM_ITEMS - 1}"] == ("interactions", None, None)  # it has left the catalogue
    assert not load_release(run.store, "r1", dsn, quiet(), **with_columns).changed
    assert load_release(run.store, "r1", dsn, quiet()).written["item_vectors"] == 0  # vectors are as they were
    with pytest.raises(InputError, match=r"no column 'colour', which pgvector\.columns names"):
        load_release(run.store, "r1", dsn, quiet(), catalogue=run.config.open_catalogue(), columns=("colour",))


def test_load_release_delta_gives_what_a_whole_load_gives(dsn, tmp_path):
    config = make_config(tmp_path)
    first = make_tables(1)
    items, users = first[ITEM_EMBEDDINGS], first[USER_VECTORS]
    other = make_tables(2)
    second = {
        **other,  # the first items as they were, others moved; users come and go
        ITEM_EMBEDDINGS: pa.concat_tables([items.slice(0, 20), other[ITEM_EMBEDDINGS].slice(20)]),
        USER_VECTORS: users.slice(5),
    }
    for run_id, tables in (("r1", first), ("r2", second)):
        publish_release(open_run(config, run_id, quiet()), tables, Evaluation())
    store = config.open_store()
    deltas = give_delta(config, "r1", "r2")
    load_release(store, "r1", dsn, quiet())
    loaded = load_release(store, "r2", dsn, quiet(), delta=True)
    assert loaded.written == {"item_vectors": len(deltas["items"]), "user_vectors": 0}
    assert loaded.removed == {"item_vectors": 0, "user_vectors": 5}
    assert 0 < loaded.written["item_vectors"] <= NUM_ITEMS - 20
    load_release(store, "r2", dsn, quiet(), "whole")
    assert everything(dsn) == everything(dsn, "whole.")
    assert not load_release(store, "r2", dsn, quiet(), delta=True).changed


def test_load_release_delta_is_refused_where_the_tables_are_not_at_its_base(dsn, tmp_path):
    config = make_config(tmp_path)
    for number in (1, 2, 3):
        make_run(config, f"r{number}", seed=number)
    store = config.open_store()
    give_delta(config, "r1", "r2")
    with pytest.raises(InputError, match=r"the tables hold no release; load it whole"):
        load_release(store, "r2", dsn, quiet(), delta=True)
    load_release(store, "r3", dsn, quiet())
    before = everything(dsn)
    with pytest.raises(InputError, match=r"the delta of r2 begins at .*, the tables hold the release with digest"):
        load_release(store, "r2", dsn, quiet(), delta=True)
    with pytest.raises(InputError, match="release r1 has no delta: it begins a line"):
        load_release(store, "r1", dsn, quiet(), delta=True)
    assert everything(dsn) == before
    load_release(store, "r1", dsn, quiet())
    with pytest.raises(InputError, match=r"pgvector.columns was '' when the tables were loaded"):
        load_release(store, "r2", dsn, quiet(), delta=True, columns=("title",))
    query(
        dsn,
        "INSERT INTO user_vectors SELECT 'x' || user_id, embedding FROM user_vectors",
    )
    with pytest.raises(StoreError, match="somebody else has changed the table"):
        load_release(store, "r2", dsn, quiet(), delta=True)


def test_load_release_of_another_dimension_is_loaded_unless_a_view_stands_on_the_column(dsn, tmp_path):
    run = make_run(make_config(tmp_path), "r1")
    load_release(run.store, "r1", dsn, quiet())
    query(dsn, "TRUNCATE item_vectors; ALTER TABLE item_vectors ALTER embedding TYPE vector(3)")
    query(dsn, "CREATE VIEW best AS SELECT embedding FROM item_vectors; UPDATE vectors_release SET digest = 'older'")
    with pytest.raises(InputError, match=r"of another type than the tables .* drop the view"):
        load_release(run.store, "r1", dsn, quiet())
    query(dsn, "DROP VIEW best")
    load_release(run.store, "r1", dsn, quiet())
    load_release(run.store, "r1", dsn, quiet(), "whole")
    assert everything(dsn) == everything(dsn, "whole.")


def test_load_release_takes_an_earlier_versions_tables_over(dsn, tmp_path):
    run = make_run(make_config(tmp_path), "r1")
    query(
        dsn,
        "CREATE EXTENSION vector; CREATE TABLE item_vectors (item_id text PRIMARY KEY, embedding vector(8) NOT NULL); "
        "CREATE TABLE user_vectors (user_id text PRIMARY KEY, embedding vector(8) NOT NULL); "
        "CREATE INDEX ON item_vectors USING hnsw (embedding vector_ip_ops); "
        "CREATE TABLE vectors_release (run_id text, digest text, loaded_at timestamptz)",
    )
    load_release(run.store, "r1", dsn, quiet())
    load_release(run.store, "r1", dsn, quiet(), "whole")
    assert everything(dsn) == everything(dsn, "whole.")


def items_there(dsn):
    return {name: source for name, _, source in everything(dsn)[0]}


def test_load_release_takes_the_increment_beside_it_and_follows_it_from_one_to_the_next(dsn, tmp_path):
    config = make_config(tmp_path)
    make_run(config, "r1", seed=1)
    store = config.open_store()
    load_release(store, "r1", dsn, quiet())
    give_increment(config, "r1", ["new-a", "new-b"])
    loaded = load_release(store, "r1", dsn, quiet())
    assert (loaded.changed, loaded.increment, loaded.rows["item_vectors"]) == (True, 1, NUM_ITEMS + 2)
    assert (loaded.written, loaded.removed) == (
        {"item_vectors": 2, "user_vectors": 0},
        {"item_vectors": 0, "user_vectors": 0},
    )
    assert items_there(dsn)["new-a"] == "content"
    give_increment(config, "r1", ["new-a", "new-c"])  # new-a as it was, new-b withdrawn
    loaded = load_release(store, "r1", dsn, quiet(), delta=True)
    assert (loaded.increment, loaded.removed["item_vectors"], loaded.rows["item_vectors"]) == (2, 1, NUM_ITEMS + 2)
    load_release(store, "r1", dsn, quiet(), "whole")
    assert everything(dsn) == everything(dsn, "whole.")
    give_increment(config, "r1", [])
    load_release(store, "r1", dsn, quiet())
    assert set(items_there(dsn)) == {f"item-{row}" for row in range(NUM_ITEMS)}
    assert not load_release(store, "r1", dsn, quiet()).changed


@pytest.mark.parametrize("delta", [False, True])
def test_load_release_after_an_increment_drops_what_the_next_release_does_not_have(dsn, tmp_path, delta):
    config = make_config(tmp_path)
    make_run(config, "r1", seed=1)
    make_run(config, "r2", seed=2)
    store = config.open_store()
    give_increment(config, "r1", ["item-1000", "withdrawn"])
    load_release(store, "r1", dsn, quiet())
    give_delta(config, "r1", "r2")
    loaded = load_release(store, "r2", dsn, quiet(), delta=delta)
    assert (loaded.increment, loaded.removed["item_vectors"]) == (None, 2)
    load_release(store, "r2", dsn, quiet(), "whole")
    assert everything(dsn) == everything(dsn, "whole.")


def test_load_release_increment_that_is_gone_or_a_changed_table_is_loaded_whole(dsn, tmp_path):
    config = make_config(tmp_path)
    make_run(config, "r1", seed=1)
    make_run(config, "r2", seed=2)
    store = config.open_store()
    first = give_increment(config, "r1", ["new-a"])
    load_release(store, "r1", dsn, quiet())
    give_increment(config, "r1", ["new-b"])
    shutil.rmtree(local_path(first.folder))
    assert load_release(store, "r1", dsn, quiet()).increment == 2
    assert "new-a" not in items_there(dsn)
    query(dsn, "DELETE FROM item_vectors WHERE item_id = 'item-3'")
    last = give_increment(config, "r1", ["new-c"])
    assert load_release(store, "r1", dsn, quiet()).rows["item_vectors"] == NUM_ITEMS + 1
    shutil.rmtree(local_path(last.folder))
    give_delta(config, "r1", "r2")
    with pytest.raises(InputError, match=r"hold an increment that cannot be read any more .*load it whole"):
        load_release(store, "r2", dsn, quiet(), delta=True)


def test_load_release_with_a_key_takes_no_step_from_an_unsigned_increment(dsn, tmp_path):
    config = make_config(tmp_path)
    store = make_run(config, "r1").store
    private, public = write_pair(tmp_path, "ours")
    sign(store.release("r1"), read_signing_key(private))
    first = give_increment(config, "r1", ["new-a"])
    load_release(store, "r1", dsn, quiet())
    shutil.rmtree(local_path(first.folder))
    (known,) = query(dsn, "SELECT min(item_id) FROM item_vectors")[0]
    give_increment(config, "r1", [known])  # forged: the step would take the release's own item away
    sign(give_increment(config, "r1", ["new-b"]).folder, read_signing_key(private), SIGNED)
    keys = read_public_keys([public])
    load_release(store, "r1", dsn, quiet(), keys=keys)
    load_release(store, "r1", dsn, quiet(), "whole", keys=keys)
    assert everything(dsn) == everything(dsn, "whole.")


def test_load_release_with_public_keys_refuses_what_they_did_not_sign_before_it_asks_the_database(tmp_path):
    config = make_config(tmp_path, database=False)
    store, nowhere = make_run(config, "r1").store, "postgresql://127.0.0.1:1/none"
    private, public = write_pair(tmp_path, "ours")
    key, keys = read_signing_key(private), read_public_keys([public])

    def problem():
        with pytest.raises(MicrorecError) as refused:
            load_release(store, "r1", nowhere, quiet(), keys=keys)
        return type(refused.value), str(refused.value)

    assert "r1 is not signed" in problem()[1]
    sign(store.release("r1"), key)
    assert problem()[0] is PassingError  # the database does not answer
    found = give_increment(config, "r1", ["new-1"])
    assert "00001 is not signed" in problem()[1]
    sign(found.folder, key, SIGNED)
    assert problem()[0] is PassingError
