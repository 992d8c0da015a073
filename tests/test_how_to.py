"""The tutorial and the pages of docs/how-to/stores, run as they are written; an applied delta answers as a rebuild."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.dataset.records import Evaluation
from pipeline.opening import open_run
from pipeline.release.format import ITEM_EMBEDDINGS, ITEM_GRAPH, SEEN, USER_VECTORS, read_table
from pipeline.sample import write_sample
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import write_json
from tests.how_to import STORES, blocks, run_page
from tests.pipeline.release_factory import (
    give_delta,
    give_increment,
    make_config,
    make_tables,
    publish_release,
    quiet,
)
from tests.postgresql import postgresql

pytestmark = pytest.mark.integration

TUTORIAL = STORES.parents[1] / "tutorial/your-own-shop.md"
PACKAGE = {"spark": "pyspark", "qdrant": "qdrant_client", "pgvector": "psycopg2"}
"""Of a page that is not called by its package's name."""
IN_PYTHON = sorted({page.stem for page in STORES.glob("*.md")} - {"README", "pgvector", "increments"})
OLD, NEW = (f"microrec-store/releases/night-{number}" for number in (1, 2))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with two releases: of night-2's items three are new, four have moved, and two are gone."""
    folder = tmp_path_factory.mktemp("shop")
    config = make_config(folder, store={"root": "microrec-store"})
    then, other = make_tables(1), make_tables(2)
    items, moved = then[ITEM_EMBEDDINGS], other[ITEM_EMBEDDINGS].slice(10, 4)
    new = other[ITEM_EMBEDDINGS].slice(0, 3)
    new = new.set_column(0, new.schema.field(0), [pa.array(["a new one", "it's new", "z"])])
    joined = pa.concat_tables([items.slice(2, 8), moved, items.slice(14), new])
    there = pc.is_in(then[SEEN]["item_id"], joined["item_id"].combine_chunks())
    graph = then[ITEM_GRAPH].filter(pc.is_in(then[ITEM_GRAPH]["item_id"], joined["item_id"].combine_chunks()))
    now = {**then, ITEM_EMBEDDINGS: joined, SEEN: then[SEEN].filter(there), ITEM_GRAPH: graph}
    for run_id, tables in (("night-1", then), ("night-2", now)):
        tables = {name: table.sort_by(table.column_names[0]) for name, table in tables.items()}
        publish_release(open_run(config, run_id, quiet()), tables, Evaluation())
    give_delta(config, "night-1", "night-2")
    text = '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n'
    (folder / "microrec.toml").write_text(text)
    return folder


def on_the_path():
    """The environment of a shell that finds `microrec`."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def queries(shop):
    """Users' vectors, and random ones."""
    users = vectors_of(read_table_of(shop, USER_VECTORS), "embedding")
    return np.concatenate([users[::8], np.random.default_rng(0).normal(size=(8, users.shape[1])).astype(np.float32)])


def read_table_of(shop, name):
    from upath import UPath

    return read_table(UPath(str(shop / NEW)), name)


def store_with_increments(shop, folder):
    """A folder whose store has the releases of `shop`, an increment of the first and two of the second."""
    (folder / "microrec-store").mkdir()
    (folder / "microrec-store/releases").symlink_to(shop / "microrec-store/releases")
    config = make_config(folder, database=False, store={"root": "microrec-store"})
    give_increment(config, "night-1", ["withdrawn", "z"], seed=3)  # night-2 has z itself
    give_increment(config, "night-2", ["new-1", "new-2"], seed=4)
    give_increment(config, "night-2", ["new-2", "new-3", "new-4"], seed=5)
    return folder


@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
@pytest.mark.parametrize("page", IN_PYTHON)
def test_page_runs_as_written_and_its_delta_answers_as_a_rebuild(shop, queries, monkeypatch, tmp_path, page):
    package = PACKAGE.get(page, page)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; `make test-recipes` installs it")
    page_code = run_page(page, store_with_increments(shop, tmp_path), monkeypatch)
    if "take" in page_code:
        page_code["items"] = page_code["take"](page_code["items"])
    load, best, apply = (page_code[name] for name in ("load", "best", "apply"))
    applied = [best(page_code["items"], query, 5) for query in queries]
    before = [best(load(OLD), query, 5) for query in queries]
    rebuilt = [best(load(NEW), query, 5) for query in queries]
    assert [set(found) for found in applied] == [set(found) for found in rebuilt]
    assert applied != before
    assert [set(found) for found in rebuilt] == [set(found) for found in exact(shop, queries)]
    assert apply is not None
    if page == "spark":
        page_code["spark"].stop()


@pytest.mark.filterwarnings("ignore")
def test_page_faiss_increment_answers_as_a_rebuild(shop, queries, monkeypatch, tmp_path):
    page_code = run_page("faiss", store_with_increments(shop, tmp_path), monkeypatch)
    load, take, apply, best = (page_code[name] for name in ("load", "take", "apply", "best"))
    first, second = (f"microrec-store/increments/night-2/0000{number}" for number in (1, 2))
    new = vectors_of(page_code["pq"].read_table(f"{second}/item_embeddings"), "embedding")
    asked = np.concatenate([queries, new])
    stepped = take(take(load(NEW), first), second)
    rebuilt = page_code["Items"](new.shape[1])
    for folder in (NEW, second):
        rebuilt.add(page_code["pq"].read_table(f"{folder}/item_embeddings"))
    wanted = [best(rebuilt, query, 5) for query in asked]
    assert {"new-2", "new-3", "new-4"} <= set().union(*wanted)
    for items in (page_code["items"], stepped):
        assert [set(best(items, query, 5)) for query in asked] == [set(found) for found in wanted]
    _, rows = page_code["index"].search(asked, 5)
    assert [set(page_code["item_id"].take(row).to_pylist()) for row in rows] == [set(found) for found in wanted]
    following = apply(take(take(load(OLD), "microrec-store/increments/night-1/00001")), NEW)
    assert [set(best(following, one, 5)) for one in asked] == [set(best(load(NEW), one, 5)) for one in asked]


def exact(shop, queries):
    items = read_table_of(shop, ITEM_EMBEDDINGS)
    order = np.argsort(-(queries @ vectors_of(items, "embedding").T), axis=1, kind="stable")[:, :5]
    return [items["item_id"].take(pa.array(row)).to_pylist() for row in order]


def test_page_pgvector_runs_as_written(shop, monkeypatch):
    with postgresql() as server:
        dsn = f"{server}/vectors"
        environment = {**on_the_path(), "MICROREC_PGVECTOR_DSN": dsn}
        monkeypatch.setenv("MICROREC_PGVECTOR_DSN", dsn)
        first, second = blocks("pgvector", "sh")
        subprocess.run(["bash", "-ec", first], cwd=shop, env=environment, check=True)
        connection = psycopg2.connect(dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute("\n".join(blocks("pgvector", "sql")))
        subprocess.run(["bash", "-ec", second], cwd=shop, env=environment, check=True)
        page_code = {}
        for block in blocks("pgvector", "python"):
            exec(compile(block, "pgvector.md", "exec"), page_code)
        users = read_table_of(shop, USER_VECTORS)
        wanted = exact(shop, vectors_of(users, "embedding"))
        found = [page_code["best"](user, 5) for user in users["user_id"].to_pylist()]
        assert [set(one) for one in found] == [set(one) for one in wanted]
        with connection, connection.cursor() as cursor:
            cursor.execute("SET ROLE shop")
            cursor.execute("SELECT count(*) FROM item_vectors")
            assert cursor.fetchone() == (len(read_table_of(shop, ITEM_EMBEDDINGS)),)
        page_code["connection"].close()
        connection.close()


def test_page_increments_runs_as_written(shop, monkeypatch, tmp_path):
    shutil.copytree(shop, tmp_path / "own")
    config = make_config(tmp_path / "own", database=False, store={"root": "microrec-store"})
    write_json(config.open_store().champion, {"run_id": "night-2"})
    monkeypatch.chdir(tmp_path / "own")
    (code, in_duckdb, steps), page_code = blocks("increments", "python"), {}
    exec(compile(code, "increments.md", "exec"), page_code)
    known = read_table_of(shop, ITEM_EMBEDDINGS)
    assert page_code["items"].to_arrow()["item_id"].to_pylist() == known["item_id"].to_pylist()
    give_increment(config, "night-2", ["new-1", "new-2"])
    give_increment(config, "night-2", ["new-2", "new-3"], seed=5)
    for block in (code, in_duckdb, steps):
        exec(compile(block, "increments.md", "exec"), page_code)
    wanted = {*known["item_id"].to_pylist(), "new-2", "new-3"}
    assert set(page_code["items"]["item_id"]) == {row[0] for row in page_code["rows"]} == wanted
    assert page_code["gone"] == ["new-1"]
    assert page_code["rows_to_write"]["item_id"].to_list() == ["new-2", "new-3"]


def test_pages_are_all_listed():
    listed = set(re.findall(r"\]\((\w+)\.md\)", (STORES / "README.md").read_text()))
    assert listed == {page.stem for page in STORES.glob("*.md")} - {"README"}


@pytest.fixture
def csv_shop(tmp_path):
    """A folder with the files of the tutorial, under its ids and columns."""
    folder = tmp_path / "shop"
    write_sample(tmp_path / "sample", num_items=60, num_users=100, seed=0)
    items, bought = (pl.read_parquet(tmp_path / "sample" / f"{name}.parquet") for name in ("items", "interactions"))
    sku = {item: f"{7834 + row:05d}" for row, item in enumerate(items["item_id"])}
    customer = {user: f"u{row:05d}" for row, user in enumerate(bought["user_id"].unique().sort(), start=1)}
    folder.mkdir()
    items.select(
        sku=pl.col("item_id").replace_strict(sku),
        name="title",
        description="description",
        kind=pl.col("categories").list.get(-1, null_on_oob=True),
        photo=pl.col("image_path").str.strip_prefix("images/"),
    ).write_csv(folder / "articles.csv")
    bought.select(
        customer=pl.col("user_id").replace_strict(customer),
        sku=pl.col("item_id").replace_strict(sku),
        day=pl.col("timestamp").dt.strftime("%Y-%m-%d"),
    ).write_csv(folder / "orders.csv")
    (tmp_path / "sample/images").rename(folder / "photos")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(2400)  # three runs with real encoders; 23 minutes under a load of 14
def test_tutorial_runs_as_written(csv_shop, monkeypatch):
    (settings,) = blocks(TUTORIAL, "toml")
    (csv_shop / "microrec.toml").write_text(settings)
    told = []
    for commands in blocks(TUTORIAL, "sh"):
        script = commands.replace("cd shop\n", "")
        done = subprocess.run(["bash", "-ec", script], cwd=csv_shop, env=on_the_path(), capture_output=True, text=True)
        assert done.returncode == (3 if "# refused: exit status 3" in commands else 0), done.stderr
        told.append(done.stdout + done.stderr)
    assert (csv_shop / "list.html").stat().st_size > 10_000
    assert (csv_shop / "microrec-store/releases/second/delta/items").is_dir()
    assert "refused; compared with the champion second" in told[-1]
    assert not (csv_shop / "microrec-store/releases/third").exists()
    monkeypatch.chdir(csv_shop)
    (code,) = blocks(TUTORIAL, "python")
    names = {}
    exec(compile(code, str(TUTORIAL), "exec"), names)
    assert len(names["best"]) == 60
