"""Where a score comes from: on a tiny run's real stages, held against the trained vectors with content taken away."""

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file

from pipeline import stages
from pipeline.dataset.dataset import load_dataset
from pipeline.errors import InputError
from pipeline.opening import open_run
from pipeline.release.format import read_table
from pipeline.serving.lookup import recommend_items
from pipeline.serving.why import _nearest, explain
from pipeline.stages.checkpoint import CONTENT_MAP, VECTORS
from pipeline.stages.order import do_stage
from pipeline.stages.score_parts import GRAPHS, MAPPED, OTHERS
from pipeline.storage.files import local_path
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import NUM_ITEMS, make_tiny

USER = "user-3"


def made(folder, taste_weight):
    config = make_tiny(
        folder, model={"embedding_dim": 8, "neighbours": 4, "taste_weight": taste_weight, "content_weight": 0.5}
    )
    run = open_run(config, "r1", quiet())
    for stage in (stages.PREPARE, stages.TRAIN, stages.EVALUATE, stages.EXPORT):
        do_stage(run, stage)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("tiny"), 0.7)


def explained(run, **options):
    config = run.config
    found = recommend_items(run.store, config.open_catalogue(), USER, NUM_ITEMS, "r1", **options)
    return {one.item_id: one for one in explain(config, found).items}


def test_explain_parts_sum_up_to_the_score(run):
    listed = explained(run, with_seen=True)
    assert len(listed) == NUM_ITEMS
    for one in listed.values():
        assert sum(one.why.parts.values()) == pytest.approx(one.score, abs=1e-6)


def test_explain_trained_part_is_that_of_the_item_whose_content_is_taken_away(run):
    """The trained vector without the graphs' part, cut as the release is, is what is left."""
    listed = explained(run, with_seen=True)
    folder, training = local_path(run.folder(stages.TRAIN)), run.require(stages.TRAIN)
    dataset, maps = load_dataset(run.folder(stages.PREPARE)), load_file(folder / CONTENT_MAP)
    vectors, cut_DD = load_file(folder / VECTORS), maps["own_DD"] / training.new_item_scale
    user_D = vectors["user_UD"][dataset.users["user_id"].to_list().index(USER)]
    trained_I = dataset.training_data().trained_items()
    for row, item_id in enumerate(dataset.items["item_id"].to_list()):
        parts = listed[item_id].why.parts
        assert (OTHERS in parts, MAPPED in parts) == (bool(trained_I[row]), not trained_I[row])
        if trained_I[row]:
            graphs = float(0.5 * vectors["content_ID"][row] @ cut_DD @ user_D)
            assert parts.get(GRAPHS, 0.0) == pytest.approx(graphs, abs=1e-6)
    assert any(abs(one.why.parts.get("text", 0.0)) > 1e-4 for one in listed.values())


def test_explain_item_without_content_has_no_part_from_it(run):
    assert "text" not in explained(run, with_seen=True)[f"item-{NUM_ITEMS - 1:02d}"].why.parts


def test_explain_names_what_the_user_has_nearest_first(run):
    listed = explained(run)
    seen = read_table(run.store.release("r1"), "seen").to_pylist()
    had = [row["item_id"] for row in seen if row["user_id"] == USER]
    dataset = load_dataset(run.folder(stages.PREPARE))
    unit = dataset.features["text"] / np.maximum(np.linalg.norm(dataset.features["text"], axis=1, keepdims=True), 1e-12)
    row = {item_id: place for place, item_id in enumerate(dataset.items["item_id"].to_list())}
    for item_id, one in listed.items():
        assert item_id not in had
        with_text = [other for other in had if dataset.present["text"][row[other]]]
        if not dataset.present["text"][row[item_id]]:
            assert one.why.nearest["text"] == []
        else:
            expected = sorted(with_text, key=lambda other: -float(unit[row[other]] @ unit[row[item_id]]))[:3]
            assert [near.item_id for near in one.why.nearest["text"]] == expected
        assert {near.item_id for near in one.why.nearest["all"]} <= set(had)
        assert all(near.title == f"Title {near.item_id}" for near in one.why.nearest["all"])


def test_explain_model_without_taste_knows_what_others_bought_and_the_graphs(tmp_path):
    listed = explained(made(tmp_path, 0.0), with_seen=True)
    names = set().union(*(one.why.parts for one in listed.values()))
    assert names <= {OTHERS, GRAPHS, MAPPED, "text"}
    for one in listed.values():
        assert sum(one.why.parts.values()) == pytest.approx(one.score, abs=1e-6)


def test_explain_release_whose_run_is_gone_says_so(tmp_path):
    run = made(tmp_path, 0.7)
    found = recommend_items(run.store, run.config.open_catalogue(), USER, 3, "r1")
    shutil.rmtree(local_path(run.folder(stages.TRAIN)))
    with pytest.raises(InputError, match="run r1 is no longer in"):
        explain(run.config, found)


def test_nearest_what_has_no_content_is_near_nothing():
    vector_IF = np.array([[1, 0], [0.9, 0.1], [0, 0], [5, 5], [1, 1]], np.float32)
    present_I = np.array([True, True, True, False, True])
    every_I = np.arange(5)
    assert _nearest(vector_IF, present_I, every_I, every_I) == [[0, 1, 4], [1, 0, 4], [], [], [4, 1, 0]]
    assert _nearest(vector_IF, present_I, every_I, every_I[2:4]) == [[]] * 5
    assert _nearest(vector_IF, present_I, every_I, every_I[:0]) == [[]] * 5
