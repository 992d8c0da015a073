"""Three nights on the whole stack, each with a later day of purchases and new items, seen by those who build on a
release: a service with the first model, indexes that follow by `delta/`, readers of the tables in PostgreSQL.

`MICROREC_TEST_SHOP` names a folder with `items.parquet`, `interactions.parquet` and `images`; without it the shop is
the sample. What is measured stands in `three-nights.jsonl`, where screenshots go.
"""

import importlib.util
import json
import os
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from deploy.compose import Stack
from pipeline.storage.arrow import vectors_of
from tests.deploy.pages import screens_folder
from tests.deploy.stack import BUCKET, Night, wait_for
from tests.how_to import run_page
from tests.pipeline.serving.served import post, served

PACKAGES = {"faiss": "faiss", "qdrant": "qdrant_client"}
"""Pages of docs/how-to/stores, and what they import."""
RELEASES = "microrec-store/releases"
"""Where the pages look."""
pytestmark = [pytest.mark.integration, pytest.mark.timeout(7200)]


@dataclass(frozen=True)
class Catalogue:
    """What the shop has at the end, and the items that come with the second and the third night."""

    items: pl.DataFrame
    interactions: pl.DataFrame
    new: list[list[str]]

    def on(self, night: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Items and interactions that there are on a night, counted from 1: the third has the last day, too."""
        later = [item for items in self.new[night - 1 :] for item in items]
        until = self.interactions["timestamp"].max() - timedelta(days=3 - night)
        items = self.items.filter(~pl.col("item_id").is_in(later))
        bought = pl.col("item_id").is_in(items["item_id"].implode()) & (pl.col("timestamp") <= until)
        return items, self.interactions.filter(bought)


@dataclass(frozen=True)
class Spent:
    """Three nights, their releases as `night-1` to `night-3` in a folder, and what the first model said meanwhile."""

    folder: Path
    nights: list[Night]
    answers: list[tuple[int, object]]

    def release(self, number: int) -> Path:
        return self.folder / RELEASES / f"night-{number}"

    def manifest(self, number: int) -> dict:
        return json.loads((self.release(number) / "manifest.json").read_text())

    def vectors(self, number: int) -> dict[str, np.ndarray]:
        table = pq.read_table(self.release(number) / "item_embeddings")
        return dict(zip(table["item_id"].to_pylist(), vectors_of(table, "embedding"), strict=True))


@pytest.fixture(scope="module")
def catalogue(stack):
    folder = os.environ.get("MICROREC_TEST_SHOP")
    if folder:
        items, interactions = (pl.read_parquet(f"{folder}/{name}.parquet") for name in ("items", "interactions"))
        interactions = interactions.with_columns(rating=pl.lit(5.0))  # which the stack's configuration filters by
        stack.store.put(f"{folder}/images/", f"{BUCKET}/catalogue/images/", recursive=True)
    else:
        items, interactions = stack.read_table("items"), stack.read_table("interactions")
    each = 50 if folder else 5
    bought = items.join(interactions.group_by("item_id").len(), on="item_id", how="left").fill_null(0)
    new = bought.sort("len", "item_id")["item_id"].to_list()
    return Catalogue(items, interactions, [new[:each], new[each : 2 * each]])


@pytest.fixture(scope="module")
def spent(stack, catalogue, tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumers")

    def spend(number):
        for name, table in zip(("items", "interactions"), catalogue.on(number), strict=True):
            stack.replace_table(name, table)
        night = stack.night()
        assert night.states["promote"] == "success", night.note
        wait_for(lambda: (stack.consumed() or [""])[0] == night.digest, 600, pause=1)
        place = folder / RELEASES / f"night-{number}"
        place.parent.mkdir(parents=True, exist_ok=True)
        stack.store.get(f"{BUCKET}/store/releases/{night.release}/", f"{place}/", recursive=True)
        return night

    first = spend(1)
    for_readers(stack)
    with asking(stack, folder, first) as answers:
        others = [spend(2), spend(3)]
    return Spent(folder, [first, *others], answers)


def for_readers(stack):
    """Rights and a view on the tables, as the database's owner of a shop gives them."""
    with closing(stack.vectors_database()) as connection, connection, connection.cursor() as cursor:
        cursor.execute("GRANT SELECT ON item_vectors, user_vectors TO PUBLIC")
        cursor.execute("CREATE VIEW liked AS SELECT item_id, embedding FROM item_vectors WHERE source <> 'none'")


@contextmanager
def asking(stack, folder, night):
    """Ask the model of a night, served by MLflow, the same question again and again; status and answer of each time."""
    user = pq.read_table(folder / RELEASES / "night-1/user_vectors", columns=["user_id"])["user_id"][0].as_py()
    question = {"inputs": [{"user_id": user}], "params": {"k": 10}}
    environment = {**os.environ, **Stack(stack.env_file, stack.state).service("worker").environment}
    answers, ended = [], threading.Event()
    version = night.results["register"]["model_version"]
    with served(folder, f"models:/microrec/{version}", environment) as address:

        def ask():
            while not ended.wait(0.5):
                answers.append(post(address, question))

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            yield answers
        finally:
            ended.set()
            asker.join()


def test_each_night_has_the_items_that_are_new(spent, catalogue):
    known = [set(spent.vectors(number)) for number in (1, 2, 3)]
    assert known[1] - known[0] == set(catalogue.new[0])
    assert known[2] - known[1] == set(catalogue.new[1])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Writes down what a test has measured."""
    file = screens_folder(tmp_path_factory.mktemp("measured")) / "three-nights.jsonl"

    def write(**what):
        with file.open("a") as lines:
            lines.write(f"{json.dumps(what)}\n")

    return write


def test_each_night_says_how_far_it_has_moved(spent, measured):
    for number in (2, 3):
        manifest = spent.manifest(number)
        measured(night=number, counts=manifest["counts"], drift=manifest["drift"])
        assert manifest["space"]["first"] == spent.nights[0].release
        assert {"all", "users"} <= set(manifest["drift"])


@pytest.mark.parametrize("page", PACKAGES)
def test_index_that_follows_by_delta_answers_as_a_rebuild(spent, monkeypatch, page):
    if importlib.util.find_spec(PACKAGES[page]) is None:
        pytest.skip(f"{PACKAGES[page]} is not installed; `make test-recipes` installs it")
    code = run_page(page, spent.folder, monkeypatch, before="## New items")
    load, apply, best = (code[name] for name in ("load", "apply", "best"))
    users, items = vectors_of(pq.read_table(spent.release(3) / "user_vectors"), "embedding"), spent.vectors(3)
    users = users[:: max(1, len(users) // 100)]
    followed = load(str(spent.release(1)))
    for number in (2, 3):
        followed = apply(followed, str(spent.release(number)))
    found = [best(followed, user, 20) for user in users]
    rebuilt = load(str(spent.release(3)))
    for user, followed_list in zip(users, found, strict=True):
        scores = [[items[item] @ user for item in one] for one in (followed_list, best(rebuilt, user, 20))]
        np.testing.assert_allclose(*scores, rtol=1e-5)  # items that are alike may change places


def test_tables_in_postgresql_are_the_third_release_and_keep_rights_and_view(spent, stack):
    wanted = spent.vectors(3)
    with closing(stack.vectors_database()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT item_id, embedding::text FROM item_vectors")
        found = {item: np.array(json.loads(vector), dtype=np.float32) for item, vector in cursor.fetchall()}
        assert found.keys() == wanted.keys()
        for item, vector in found.items():
            np.testing.assert_allclose(vector, wanted[item], rtol=1e-5, atol=1e-7)
        cursor.execute("SELECT has_table_privilege('public', 'item_vectors', 'SELECT')")
        assert cursor.fetchone() == (True,)
        cursor.execute("SELECT count(*) FROM liked")
        assert cursor.fetchone()[0] > 0


def test_first_model_has_answered_alike_all_the_time(spent, measured):
    measured(answers=len(spent.answers))
    assert len(spent.answers) > 20
    status, answer = spent.answers[0]
    assert status == 200
    assert len(answer["predictions"]) == 10
    assert all(one == spent.answers[0] for one in spent.answers)


def test_gc_leaves_the_champion_and_what_may_come_back(spent, stack, measured):
    done = stack.microrec("gc", "--apply", "--keep", "1", "--keep-days", "0")
    measured(gc=[item for item in done["items"] if item["removed"]])
    for night in spent.nights:
        assert stack.microrec("verify", night.release)["digest"] == night.digest
    back = stack.microrec("rollback", "--reason", "to see that it is there")
    assert back["run_id"] == spent.nights[1].release
