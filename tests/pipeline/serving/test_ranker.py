"""The ranker by itself, held against loops over the release's rows."""

import ast
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import ASKED
from pipeline.release.fold_in import FoldIn, fold, prior
from pipeline.release.format import read_table
from pipeline.release.manifest import read_manifest
from pipeline.release.served import Served
from pipeline.stages.register_ranker import DEFAULTS
from tests import reference
from tests.pipeline.release_factory import NUM_ITEMS, NUM_USERS, make_config, make_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own, about its own classes
    from pipeline.serving import ranker


class World:
    """A loaded ranker, and the rows of the release that it was made from."""

    def __init__(self, folder, *, integer_ids=False, schema_version=2):
        run = make_run(
            make_config(folder, database=False), "r1", integer_ids=integer_ids, schema_version=schema_version
        )
        self.release = run.store.release("r1")
        (folder / "served").mkdir()
        Served.of(self.release).write(folder / "served")
        self.model = ranker.Ranker()
        self.model.load_context(SimpleNamespace(artifacts={"release": str(folder / "served")}))
        users, items = (read_table(self.release, name).to_pydict() for name in ("user_vectors", "item_embeddings"))
        self.users, self.items = users["user_id"], items["item_id"]
        self.user_UD, self.item_ID = np.array(users["embedding"], np.float32), np.array(items["embedding"], np.float32)
        seen = read_table(self.release, "seen").to_pydict() if schema_version > 1 else {"user_id": [], "item_id": []}
        self.seen = {user: set() for user in self.users}
        for user, item in zip(seen["user_id"], seen["item_id"], strict=True):
            self.seen[user].add(item)

    def ask(self, rows, **params):
        frame = pd.DataFrame(rows) if isinstance(rows, list | dict) else rows
        return self.model.predict(None, frame, params)

    def score(self, vector, item):
        return float(np.dot(vector, self.item_ID[self.items.index(item)]))

    def naive(self, vector, left_out=(), k=20):
        """Items and scores, best first, the earlier row first among equals."""
        scores = {item: self.score(vector, item) for item in self.items}
        scores[self.items[-1]] = scores[self.items[-2]]  # the factory's last two items are equal
        best = sorted((item for item in self.items if item not in left_out), key=lambda item: -scores[item])[:k]
        return best, [scores[item] for item in best]


@pytest.fixture(scope="module", params=[False, True], ids=["text ids", "integer ids"])
def world(request, tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), integer_ids=request.param)


@pytest.fixture(scope="module")
def old_world(tmp_path_factory):
    """Of a release that does not say what users have."""
    return World(tmp_path_factory.mktemp("old"), schema_version=1)


def stranger(world):
    return -7 if isinstance(world.users[0], int) else "nobody"


def assert_lists(answer, request, expected, scores=None):
    rows = answer[answer["request"] == request]
    assert rows["item_id"].tolist() == expected
    assert rows["rank"].tolist() == list(range(1, len(expected) + 1))
    if scores is not None:
        np.testing.assert_allclose(rows["score"].tolist(), scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [1, 20, 10_000])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommend_is_a_loop_over_inner_products(world, k, exclude_seen):
    answer = world.ask({"user_id": world.users}, k=k, exclude_seen=exclude_seen)
    assert answer.columns.tolist() == ["request", "user_id", "rank", "item_id", "score", "source"]
    for request, (user, vector) in enumerate(zip(world.users, world.user_UD, strict=True)):
        assert_lists(answer, request, *world.naive(vector, world.seen[user] if exclude_seen else (), k))
        assert set(answer["user_id"][answer["request"] == request]) == {user}
    assert set(answer["source"]) == {"user"}


def test_recommend_without_parameters_gives_twenty_in_exact_types(world):
    answer = world.ask({"user_id": world.users[:1]})
    assert len(answer) == 20
    kinds = answer.dtypes.astype(str).to_dict()
    assert (kinds["request"], kinds["rank"], kinds["score"]) == ("int64", "int64", "float32")
    assert {type(one) for one in answer["item_id"].tolist()} == {type(world.items[0])}


def test_recommend_alone_or_together_is_the_same(world):
    together = world.ask({"user_id": world.users})
    alone = pd.concat([world.ask({"user_id": [user]}) for user in world.users], ignore_index=True)
    alone["request"] = together["request"]
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_recommend_unknown_users_are_answered_with_what_most_have(world):
    answer = world.ask({"user_id": [stranger(world), world.users[1]]}, k=3)
    count = {item: sum(item in seen for seen in world.seen.values()) for item in world.items}
    popular = sorted(world.items, key=lambda item: -count[item])[:3]
    assert_lists(answer, 0, popular, [count[item] / NUM_USERS for item in popular])
    assert answer["source"].tolist() == ["popular"] * 3 + ["user"] * 3
    assert answer["user_id"].tolist() == [stranger(world)] * 3 + [world.users[1]] * 3


def test_recommend_unknown_users_have_an_empty_answer_that_says_so(world):
    answer = world.ask({"user_id": [world.users[0], stranger(world)]}, k=2, unknown="empty")
    assert answer["request"].tolist() == [0, 0, 1]
    last = answer.iloc[2]
    assert (last["user_id"], last["rank"], last["item_id"], last["score"]) == (stranger(world), None, None, None)
    assert last["source"] == "empty"
    assert answer["rank"].tolist()[:2] == [1, 2]


def test_recommend_unknown_user_is_an_error_where_that_is_asked_for(world):
    with pytest.raises(ranker.WrongQuestion, match=r"^request 1: user_id .* is not in the release, nor is any item"):
        world.ask({"user_id": [world.users[0], stranger(world)]}, unknown="error")


def test_recommend_ids_of_another_type_are_unknown(world):
    other = "12" if isinstance(world.users[0], int) else 12
    assert set(world.ask({"user_id": [other]})["source"]) == {"popular"}
    assert set(world.ask({"user_id": [True]})["source"]) == {"popular"}


def test_recommend_history_is_folded_in_and_left_out(world):
    history = [world.items[3], world.items[8], world.items[3], "gone"]
    answer = world.ask([{"user_id": stranger(world), "history": history}, {"history": history[:2]}], k=NUM_ITEMS)
    manifest = read_manifest(world.release)
    vector = manifest.fold_in.scale * fold(world.item_ID[[3, 8]], prior(world.item_ID, manifest.fold_in))
    for request in (0, 1):
        assert_lists(answer, request, *world.naive(vector, history, NUM_ITEMS))
    assert set(answer["source"]) == {"history"}
    assert answer["user_id"].tolist()[-1] is None
    with_seen = world.ask([{"history": history[:2]}], k=NUM_ITEMS, exclude_seen=False)
    assert_lists(with_seen, 0, world.naive(vector, (), NUM_ITEMS)[0])


def test_recommend_history_that_the_release_knows_leaves_the_user_as_trained(world):
    user = world.users[2]
    answer = world.ask([{"user_id": user, "history": sorted(world.seen[user])}], k=5)
    assert_lists(answer, 0, *world.naive(world.user_UD[2], world.seen[user], 5))
    assert set(answer["source"]) == {"history"}


def test_recommend_history_moves_a_user_by_what_it_adds(world):
    user, new = world.users[2], world.items[1]
    manifest = read_manifest(world.release)
    prior_DD = prior(world.item_ID, manifest.fold_in)
    rows = sorted(world.items.index(item) for item in world.seen[user])
    before, after = (fold(world.item_ID[rows + more], prior_DD) for more in ([], [1]))
    vector = world.user_UD[2] + manifest.fold_in.scale * (after - before)
    answer = world.ask([{"user_id": user, "history": [new]}], k=5)
    assert_lists(answer, 0, *world.naive(vector, {*world.seen[user], new}, 5))


def test_recommend_candidates_and_exclude(world):
    user, asked = world.users[4], [*world.items[10:16], "gone"]
    rows = [
        {"user_id": user, "candidates": asked, "exclude": None},
        {"user_id": user, "candidates": asked, "exclude": world.items[12:14]},
        {"user_id": user, "candidates": None, "exclude": world.items[:20]},
        {"user_id": user, "candidates": [], "exclude": None},
        {"user_id": stranger(world), "candidates": asked, "exclude": world.items[12:14]},
    ]
    answer = world.ask(rows, k=NUM_ITEMS)
    rest, seen = set(world.items) - set(asked), world.seen[user]
    assert_lists(answer, 0, *world.naive(world.user_UD[4], rest | seen, NUM_ITEMS))
    assert_lists(answer, 1, *world.naive(world.user_UD[4], rest | seen | set(world.items[12:14]), NUM_ITEMS))
    assert_lists(answer, 2, *world.naive(world.user_UD[4], seen | set(world.items[:20]), NUM_ITEMS))
    assert answer[answer["request"] == 3]["source"].tolist() == ["empty"]
    popular = answer[answer["request"] == 4]
    assert set(popular["item_id"]) == set(world.items[10:12] + world.items[14:16])
    assert popular["score"].is_monotonic_decreasing


@pytest.mark.parametrize("k", [1, 7, 10_000])
def test_similar_is_a_loop_over_cosines_without_the_item_itself(world, k):
    asked = [world.items[row] for row in (0, 11, 5)]
    answer = world.ask({"item_id": asked}, mode="similar", k=k)
    assert answer.columns.tolist() == ["request", "asked_item_id", "rank", "item_id", "score", "source"]
    for request, item in enumerate(asked):
        vector = world.item_ID[world.items.index(item)]
        cosine = {other: reference.cosine(vector, world.item_ID[row]) for row, other in enumerate(world.items)}
        cosine[world.items[-1]] = cosine[world.items[-2]]
        expected = sorted((other for other in world.items if other != item), key=lambda other: -cosine[other])[:k]
        assert_lists(answer, request, expected, [cosine[other] for other in expected])
        assert set(answer["asked_item_id"][answer["request"] == request]) == {item}


def test_similar_to_an_unknown_item_is_answered_as_asked_for(world):
    assert set(world.ask({"item_id": [stranger(world)]}, mode="similar")["source"]) == {"popular"}
    assert world.ask({"item_id": [stranger(world)]}, mode="similar", unknown="empty")["source"].tolist() == ["empty"]
    with pytest.raises(ranker.WrongQuestion, match=r"request 0: item_id .* is not in the release$"):
        world.ask({"item_id": [stranger(world)]}, mode="similar", unknown="error")


def test_score_is_the_inner_product_or_the_share_of_users(world):
    rows = [
        {"user_id": world.users[0], "item_id": world.items[9]},
        {"user_id": stranger(world), "item_id": world.items[9]},
        {"user_id": world.users[0], "item_id": stranger(world)},
    ]
    answer = world.ask(rows, mode="score")
    share = sum(world.items[9] in seen for seen in world.seen.values()) / NUM_USERS
    expected = [world.score(world.user_UD[0], world.items[9]), share]
    np.testing.assert_allclose(answer["score"].tolist()[:2], expected, rtol=1e-5)
    assert answer["item_id"].tolist() == [world.items[9], world.items[9], None]
    assert answer["source"].tolist() == ["user", "popular", "empty"]


@pytest.mark.parametrize(
    ("rows", "params", "message"),
    [
        ([{"user": "a"}], {}, "there is no column 'user'; did you mean 'user_id'? Known are user_id, history,"),
        ([{"user_id": "a"}], {"kk": 3}, "there is no parameter 'kk'; did you mean 'k'? Known are mode, k,"),
        ([{"user_id": "a"}], {"k": 0}, "k is 0; it is the number of items per question, at least 1"),
        ([{"user_id": "a"}], {"k": True}, "k is True;"),
        ([{"user_id": "a"}], {"mode": "rank"}, "mode is 'rank'; it is one of recommend, similar, score"),
        ([{"user_id": "a"}], {"unknown": "?"}, "unknown is '?'; it is one of popular, empty, error"),
        ([{"user_id": "a"}], {"exclude_seen": "no"}, "exclude_seen is 'no'; it is true or false"),
        ([{"user_id": "a", "history": "b"}], {}, "history of request 0 is 'b'; it is a list of item ids"),
        ([{"user_id": "a"}], {"mode": "similar"}, "mode similar needs the column item_id"),
        ([{"exclude": ["a"]}], {}, "mode recommend needs the column user_id or history"),
    ],
)  # fmt: skip
def test_predict_what_makes_no_sense_is_refused_in_one_line(world, rows, params, message):
    with pytest.raises(ranker.WrongQuestion) as error:
        world.ask(rows, **params)
    error.value.message = "MLflow's server would say more"
    assert error.value.message.startswith(message)
    assert "\n" not in error.value.message
    assert error.value.get_http_status_code() == 400


def test_predict_no_questions_has_no_answers(world):
    answer = world.ask(pd.DataFrame({"user_id": []}))
    assert (len(answer), answer.columns.tolist()[:2]) == (0, ["request", "user_id"])


def test_release_of_schema_1_leaves_nothing_out_and_has_the_mean_users_items_as_popular(old_world):
    answer = old_world.ask({"user_id": [old_world.users[0], "nobody"]}, k=NUM_ITEMS)
    assert_lists(answer, 0, *old_world.naive(old_world.user_UD[0], (), NUM_ITEMS))
    assert_lists(answer, 1, *old_world.naive(old_world.user_UD.mean(0), (), NUM_ITEMS))
    assert set(old_world.ask([{"history": old_world.items[:2]}])["source"]) == {"history"}


def test_files_are_mapped_not_read(world):
    for name in ranker.Ranker.__annotations__:
        base = getattr(world.model, name)
        while not isinstance(base, np.memmap):
            base = base.base
            assert base is not None, name


def test_ids_are_mapped_not_read(tmp_path):
    batch = pa.record_batch({"id": pa.array([f"user-{row:09}" for row in range(100_000)])})
    with pa.OSFile(str(tmp_path / "ids.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    allocated = pa.total_allocated_bytes()
    ids = ranker.Ids(tmp_path / "ids.arrow")
    assert ids.rows(["user-000000000", "user-000099999", "user-000100000"]).tolist() == [0, 99_999, -1]
    assert pa.total_allocated_bytes() - allocated < 10_000


@given(st.data())
def test_rank_all_is_a_stable_sort_of_what_is_not_masked(data):
    num_items, num_users = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 3))
    item_ID = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=num_items, max_size=num_items)), np.float32)
    masks = [np.array(sorted(data.draw(st.sets(st.integers(0, num_items - 1)))), np.int64) for _ in range(num_users)]
    scale_I = data.draw(st.sampled_from([None, np.linspace(0.5, 1, num_items, dtype=np.float32)]))
    k = data.draw(st.integers(1, num_items + 2))
    sign_B1 = np.array([[1], [-1], [0]], np.float32)[:num_users]
    found = ranker.rank_all(sign_B1, item_ID[:, None], k, masks, scale_I, 3.0)
    for sign, mask, (rows, scores) in zip(sign_B1[:, 0], masks, found, strict=True):
        score_I = sign * item_ID * (1 if scale_I is None else scale_I)
        rest = [row for row in range(num_items) if row not in mask]
        assert rows.tolist() == sorted(rest, key=lambda row: -score_I[row])[:k]
        np.testing.assert_allclose(scores, score_I[rows], rtol=1e-6)


def test_rank_all_best_items_in_groups_of_their_own_are_found_masked_or_not():
    groups = np.arange(10)
    first, second = groups * ranker.GROUP, groups * ranker.GROUP + 1
    item_ID = np.zeros((10 * ranker.GROUP, 1), np.float32)
    item_ID[first, 0], item_ID[second, 0] = 100 + groups, 50 + groups
    masks = [np.empty(0, np.int64), first]
    (plain, _), (masked, _) = ranker.rank_all(np.ones((2, 1), np.float32), item_ID, 3, masks, None, 109)
    assert plain.tolist() == [9 * ranker.GROUP, 8 * ranker.GROUP, 7 * ranker.GROUP]
    assert masked.tolist() == [one + 1 for one in plain.tolist()]


def test_rank_all_over_several_blocks_is_a_sort(monkeypatch):
    monkeypatch.setattr(ranker, "ITEMS_AT_ONCE", 64)
    rng = np.random.default_rng(0)
    item_ID, user_BD = rng.normal(size=(333, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    masks = [np.sort(rng.choice(333, 40, replace=False)) for _ in range(5)]
    for user_D, mask, (rows, _) in zip(
        user_BD, masks, ranker.rank_all(user_BD, item_ID, 7, masks, None, 9), strict=True
    ):
        score_I = (item_ID.astype(np.float64) @ user_D).astype(np.float32)
        score_I[mask] = -np.inf
        assert rows.tolist() == np.argsort(-score_I, kind="stable")[:7].tolist()


@given(
    st.sets(st.one_of(st.text(max_size=3), st.sampled_from(["a", "é", "zz"])), max_size=20),
    st.lists(st.text(max_size=3)),
)
def test_ids_are_found_as_in_a_dictionary(tmp_path_factory, known, wanted):
    ids = sorted(known, key=lambda one: one.encode())
    file = tmp_path_factory.mktemp("ids") / "ids.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, pa.schema({"id": pa.string()})) as writer:
        writer.write_batch(pa.record_batch({"id": pa.array(ids, pa.string())}))
    wanted = [*wanted, *ids, None, 3]
    row = {one: place for place, one in enumerate(ids)}
    assert ranker.Ids(file).rows(wanted).tolist() == [row.get(one, -1) for one in wanted]


def test_fold_in_of_a_catalogue_without_vectors_can_be_solved():
    zeros = np.zeros((4, 3), np.float32)
    assert fold(zeros[:2], prior(zeros, FoldIn.of(zeros, 0, 0))).tolist() == [0, 0, 0]


def test_ranker_agrees_with_the_signature_about_names():
    assert ranker.DEFAULTS == DEFAULTS
    assert ranker.COLUMNS == ASKED


def test_ranker_imports_nothing_of_this_program():
    tree = ast.parse(Path(ranker.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots = {name.partition(".")[0] for name in names}
    standard = {"collections", "concurrent", "dataclasses", "difflib", "itertools", "json", "pathlib", "sys", "typing"}
    assert roots == standard | {"numpy", "pandas", "pyarrow", "mlflow"}
