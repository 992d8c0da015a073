"""The ranker by itself: exact, deterministic, forgiving about users it does not know."""

import ast
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.release.format import write_table
from tests.pipeline.release_factory import NUM_ITEMS, make_tables

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own, about its own classes
    from pipeline.serving import ranker


@pytest.fixture(scope="module", params=[False, True], ids=["text ids", "integer ids"])
def served(request, tmp_path_factory):
    """A loaded ranker, and the tables it was loaded from."""
    folder, tables = tmp_path_factory.mktemp("served"), make_tables(3, request.param)
    for name, table in tables.items():
        write_table(table, folder / name, "digest")
    model = ranker.Ranker()
    model.load_context(SimpleNamespace(artifacts={name: str(folder / name) for name in tables}))
    return model, tables


def ask(model, users, k=20):
    return model.predict(None, pd.DataFrame({"user_id": users}), {"k": k})


def test_predict_gives_the_best_by_inner_product(served):
    model, tables = served
    users = tables["user_vectors"].to_pydict()
    items = tables["item_embeddings"].to_pydict()
    answer = ask(model, users["user_id"][:1], k=5)
    score_I = np.array([np.dot(vector, users["embedding"][0]) for vector in items["embedding"]])
    assert answer["item_id"].tolist() == [items["item_id"][place] for place in np.argsort(-score_I)[:5]]
    assert answer["rank"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(answer["score"], np.sort(score_I)[::-1][:5], rtol=1e-5)
    assert answer["score"].dtype == np.float32


def test_predict_equal_scores_keep_the_order_of_the_table(served):
    model, tables = served
    order = tables["item_embeddings"].column("item_id").to_pylist()
    user = tables["user_vectors"].column("user_id").to_pylist()[0]
    answer = ask(model, [user], k=NUM_ITEMS)["item_id"].tolist()
    assert answer.index(order[-1]) == answer.index(order[-2]) + 1


def test_predict_unknown_users_give_no_rows(served):
    model, tables = served
    known = tables["user_vectors"].column("user_id").to_pylist()
    stranger = "nobody" if isinstance(known[0], str) else -1
    answer = ask(model, [stranger, known[1], stranger, known[0]], k=2)
    assert answer["user_id"].tolist() == [known[1], known[1], known[0], known[0]]
    nothing = ask(model, [stranger])
    assert nothing.columns.tolist() == ["user_id", "rank", "item_id", "score"]
    assert len(nothing) == 0


def test_predict_alone_or_together_is_the_same(served):
    model, tables = served
    users = tables["user_vectors"].column("user_id").to_pylist()
    together = ask(model, users)
    alone = pd.concat([ask(model, [user]) for user in users], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_predict_more_than_there_are_gives_all(served):
    model, tables = served
    user = tables["user_vectors"].column("user_id").to_pylist()[0]
    assert sorted(ask(model, [user], k=10_000)["item_id"]) == sorted(
        tables["item_embeddings"].column("item_id").to_pylist()
    )


def test_predict_without_parameters_gives_twenty(served):
    model, tables = served
    users = tables["user_vectors"].column("user_id").to_pylist()[:1]
    assert len(model.predict(None, pd.DataFrame({"user_id": users}))) == 20


def test_predict_impossible_k_is_refused(served):
    with pytest.raises(ValueError, match="k is 0"):
        ask(served[0], [], k=0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_rank_items_is_a_stable_sort_cut_short(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    score_I = np.array(scores, np.float32)
    rows, found = ranker.rank_items(np.ones(1, np.float32), score_I[:, None], k)
    assert rows.tolist() == sorted(range(len(scores)), key=lambda row: -scores[row])[:k]
    assert found.tolist() == [scores[row] for row in rows]


def test_read_vectors_parts_stand_in_order_of_name(tmp_path):
    import pyarrow.parquet as pq

    table = make_tables()["user_vectors"]
    for part, start in ((1, 3), (0, 0)):
        pq.write_table(table.slice(start, None if start else 3), tmp_path / f"part-{part:05d}.parquet")
    ids, matrix = ranker.read_vectors(tmp_path, "user_id")
    assert ids.to_pylist() == table.column("user_id").to_pylist()
    assert matrix.shape == (table.num_rows, 8)


def test_ranker_imports_nothing_of_this_program():
    tree = ast.parse(Path(ranker.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots = {name.partition(".")[0] for name in names}
    assert roots == {"pathlib", "typing", "numpy", "pandas", "pyarrow", "mlflow"}
