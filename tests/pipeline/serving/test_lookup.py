"""Lists of items, held against loops over the release's rows."""

import dataclasses
import shutil

import numpy as np
import polars as pl
import pytest

from pipeline.errors import InputError
from pipeline.release.format import read_table, write_table
from pipeline.serving.lookup import Listed, recommend_items, similar_items
from pipeline.storage.arrow import vector_column, vectors_of
from pipeline.storage.files import local_path, write_json
from tests import reference
from tests.pipeline.release_factory import NUM_ITEMS, give_increment, list_anew, make_config, make_run, make_tables

TITLES = {0: "Red shoe", 1: "Blue shoe", NUM_ITEMS - 1: "Sock"}


@dataclasses.dataclass
class World:
    """A store with the release `r1`, and the catalogue as it is now."""

    config: object
    integer_ids: bool

    @property
    def store(self):
        return self.config.open_store()

    def table(self, name):
        return read_table(self.store.release("r1"), name).to_pydict()

    def write_items(self, **columns):
        pl.DataFrame(columns).write_parquet(self.config.base / "items.parquet")

    def recommend(self, user, k=20, release="r1", with_seen=True):
        return recommend_items(self.store, self.config.open_catalogue(), str(user), k, release, with_seen=with_seen)

    def similar(self, item, k=20, release="r1"):
        return similar_items(self.store, self.config.open_catalogue(), str(item), k, release)


def make_world(folder, integer_ids):
    config = make_config(folder, database=False)
    make_run(config, "r1", integer_ids=integer_ids)
    world = World(config, integer_ids)
    ids = world.table("item_embeddings")["item_id"]
    world.write_items(item_id=ids, title=[TITLES.get(row) for row in range(NUM_ITEMS)])
    return world


@pytest.fixture(scope="module", params=[False, True], ids=["text ids", "integer ids"])
def world(request, tmp_path_factory):
    """Never changed by a test."""
    return make_world(tmp_path_factory.mktemp("world"), request.param)


@pytest.fixture
def own_world(tmp_path):
    """A test's own, to change."""
    return make_world(tmp_path, integer_ids=False)


def naive_list(ids, scores, k):
    """Best first, the earlier row first among equals."""
    best = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]
    titles = {item: TITLES.get(row) for row, item in enumerate(ids)}
    return [(rank, ids[row], titles[ids[row]], scores[row]) for rank, row in enumerate(best, start=1)]


def assert_same(items, expected):
    assert [(one.rank, one.item_id, one.title) for one in items] == [one[:3] for one in expected]
    np.testing.assert_allclose([one.score for one in items], [one[3] for one in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 7, NUM_ITEMS, 10_000])
def test_recommend_items_is_a_loop_over_inner_products(world, k):
    users, items = world.table("user_vectors"), world.table("item_embeddings")
    for user, vector in zip(users["user_id"], users["embedding"], strict=True):
        scores = [float(np.dot(vector, item)) for item in items["embedding"]]
        scores[-1] = scores[-2]  # the factory's last two items are equal
        found = world.recommend(user, k)
        assert (found.release, found.user_id) == ("r1", str(user))
        assert_same(found.items, naive_list(items["item_id"], scores, k))


def test_recommend_items_leaves_out_what_the_user_has(world):
    seen = world.table("seen")
    for user in world.table("user_vectors")["user_id"][:3] + world.table("user_vectors")["user_id"][-1:]:
        has = {item for owner, item in zip(seen["user_id"], seen["item_id"], strict=True) if owner == user}
        everything, rest = world.recommend(user, NUM_ITEMS), world.recommend(user, NUM_ITEMS, with_seen=False)
        assert (everything.left_out, rest.left_out) == (0, len(has))
        expected = [one for one in everything.items if one.item_id not in has]
        expected = [dataclasses.replace(one, rank=rank) for rank, one in enumerate(expected, start=1)]
        assert rest.items == expected


def test_recommend_items_of_a_release_that_does_not_say_what_users_have_leaves_nothing_out(own_world):
    make_run(own_world.config, "old", schema_version=1)
    found = own_world.recommend("user-0", NUM_ITEMS, release="old", with_seen=False)
    assert (found.left_out, len(found.items)) == (None, NUM_ITEMS)


@pytest.mark.parametrize("k", [1, 7, NUM_ITEMS - 1, 10_000])
def test_similar_items_is_a_loop_over_cosines_without_the_item_itself(world, k):
    items = world.table("item_embeddings")
    vectors = np.array(items["embedding"])
    for row in (0, 11, NUM_ITEMS - 3):
        scores = [reference.cosine(vectors[row], vector) for vector in vectors]
        scores[-1] = scores[-2]
        expected = [one for one in naive_list(items["item_id"], scores, NUM_ITEMS) if one[1] != items["item_id"][row]]
        expected = [(rank, *one[1:]) for rank, one in enumerate(expected[:k], start=1)]
        found = world.similar(items["item_id"][row], k)
        assert (found.release, found.item_id) == ("r1", str(items["item_id"][row]))
        assert_same(found.items, expected)


@pytest.mark.parametrize("row", [NUM_ITEMS - 2, NUM_ITEMS - 1])
def test_similar_items_twin_comes_first_and_the_item_itself_never(world, row):
    ids = world.table("item_embeddings")["item_id"]
    found = world.similar(ids[row], NUM_ITEMS).items
    assert found[0].item_id == ids[2 * NUM_ITEMS - 3 - row]
    assert found[0].score == pytest.approx(1)
    assert sorted(one.item_id for one in found) == sorted(set(ids) - {ids[row]})


def test_recommend_items_equal_scores_keep_the_order_of_the_table(world):
    ids = world.table("item_embeddings")["item_id"]
    listed = [one.item_id for one in world.recommend(world.table("user_vectors")["user_id"][0], NUM_ITEMS).items]
    assert listed.index(ids[-1]) == listed.index(ids[-2]) + 1


def test_recommend_items_integer_ids_stay_numbers(world):
    kind = int if world.integer_ids else str
    user = world.table("user_vectors")["user_id"][0]
    assert {type(one.item_id) for one in world.recommend(user).items} == {kind}


def test_lookup_takes_the_increment_that_stands_beside_the_release(own_world):
    new = give_increment(own_world.config, "r1", ["new-a"], seed=3).table
    users, items = own_world.table("user_vectors"), own_world.table("item_embeddings")
    found = own_world.recommend("user-0", k=10_000)
    assert {one.item_id for one in found.items} == {*items["item_id"], "new-a"}
    [score] = [one.score for one in found.items if one.item_id == "new-a"]
    assert score == pytest.approx(np.dot(users["embedding"][0], vectors_of(new, "embedding")[0]), abs=1e-6)
    assert len(own_world.similar("new-a").items) == 20
    store, catalogue = own_world.store, own_world.config.open_catalogue()
    without = recommend_items(store, catalogue, "user-0", 10_000, "r1", with_seen=True, with_new=False)
    assert {one.item_id for one in without.items} == set(items["item_id"])


def test_lookup_unknown_id_is_named(world):
    with pytest.raises(InputError, match=r"r1: user 'nobody' is not in the release"):
        world.recommend("nobody")
    with pytest.raises(InputError, match=r"r1: item '-1' is not in the release"):
        world.similar(-1)


@pytest.mark.parametrize("user", ["user-", "ser-0", "User-0", "user-0 ", ""])
def test_recommend_items_id_that_is_alike_is_another(own_world, user):
    with pytest.raises(InputError, match="is not in the release"):
        own_world.recommend(user)


def test_recommend_items_catalogue_without_titles_gives_none(own_world):
    own_world.write_items(item_id=["item-0"], price=[3])
    assert {one.title for one in own_world.recommend("user-0").items} == {None}


@pytest.mark.parametrize(("title", "shown"), [(1984, "1984"), (["1984", "a novel"], "1984, a novel")])
def test_recommend_items_titles_of_another_type_are_text(own_world, title, shown):
    own_world.write_items(item_id=["item-0"], title=[title])
    titles = {one.item_id: one.title for one in own_world.recommend("user-0", NUM_ITEMS).items}
    assert titles == {f"item-{row}": None for row in range(NUM_ITEMS)} | {"item-0": shown}


def test_recommend_items_that_has_left_the_catalogue_has_no_title(own_world):
    own_world.write_items(item_id=["item-1", "item-77"], title=["Blue shoe", "New hat"])
    titles = {one.item_id: one.title for one in own_world.recommend("user-0", NUM_ITEMS).items}
    assert titles == {f"item-{row}": None for row in range(NUM_ITEMS)} | {"item-1": "Blue shoe"}


def test_recommend_items_without_a_champion_takes_the_only_release(own_world):
    assert own_world.recommend("user-0", release=None).release == "r1"


def test_lookup_without_a_name_takes_the_champion_of_several(own_world):
    other = make_run(own_world.config, "r2", seed=1)
    with pytest.raises(InputError, match=r"name a release with --release: there is no champion.*'r1', 'r2'"):
        own_world.recommend("user-0", release=None)
    champion = {"run_id": "r2", "digest": "", "model_name": "m", "model_version": "1", "previous": None}
    write_json(other.store.champion, champion)
    assert own_world.recommend("user-0", release=None) == own_world.recommend("user-0", release="r2")
    assert own_world.similar("item-0", release=None) == own_world.similar("item-0", release="r2")
    assert own_world.recommend("user-0", release="r1").items != own_world.recommend("user-0", release="r2").items


def test_recommend_items_of_a_release_that_there_is_not_is_refused(own_world):
    with pytest.raises(InputError, match=r"no release 'r7' in .*; there are \['r1'\]"):
        own_world.recommend("user-0", release="r7")


def test_similar_items_vector_of_zeros_is_like_nothing(own_world):
    """An item without content and interactions: a cosine of 0 to all, never NaN."""
    table = make_tables()["item_embeddings"]
    vectors = vectors_of(table, "embedding").copy()
    vectors[0] = 0
    folder = local_path(own_world.store.release("r1") / "item_embeddings")
    shutil.rmtree(folder)
    write_table(table.set_column(1, "embedding", vector_column(vectors)), folder, "")
    list_anew(own_world.store.release("r1"))
    assert own_world.similar("item-0", 2).items == [
        Listed(rank=1, item_id="item-1", title="Blue shoe", score=0.0),
        Listed(rank=2, item_id="item-2", title=None, score=0.0),
    ]
