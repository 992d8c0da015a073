"""The release's tables against loops over the items, and the release of a tiny run."""

import dataclasses
import shutil

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file

from pipeline import stages
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.records import EncoderRecord, Evaluation, Training, WarmStart
from pipeline.errors import StoreError
from pipeline.opening import open_run
from pipeline.release.format import SCHEMA_VERSION
from pipeline.release.manifest import read_manifest
from pipeline.release.verify import verify_release
from pipeline.run import run_stage
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.export import export, graph_table, item_table, make_manifest, seen_table, sources, user_table
from pipeline.stages.order import do_stage
from pipeline.stages.results import EvaluateResult, PrepareResult, TrainResult
from pipeline.storage.files import file_sha256, local_path
from tests import reference
from tests.pipeline.release_factory import commit_anew, quiet
from tests.pipeline.tiny import make_tiny


def make_dataset(num_items=6, num_users=3, trained=(), held=(), features=None, present=None, integer_ids=False):
    """Items item-0 …; `trained` and `held` are pairs of user and item index."""
    rows = [(user, item, split) for split, pairs in (("train", trained), ("test", held)) for user, item in pairs]
    ids = range(100, 100 + num_items) if integer_ids else [f"item-{row}" for row in range(num_items)]
    return Dataset(
        items=pl.DataFrame({"item_id": list(ids)}),
        users=pl.DataFrame({"user_id": [f"user-{row}" for row in range(num_users)]}),
        interactions=pl.DataFrame(
            rows, schema={"user_index": pl.Int64, "item_index": pl.Int64, "split": pl.String}, orient="row"
        ),
        features=features or {},
        present=present or {},
    )


def make_vectors(num_items=6, num_users=3, num_modalities=2, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"item_ID": num_items, "content_ID": num_items, "user_UD": num_users}
    vectors = {name: rng.normal(size=(rows, dim)).astype(np.float32) for name, rows in shapes.items()}
    return vectors | {"modality_weight_IM": rng.random((num_items, num_modalities)).astype(np.float32)}


def test_item_table_holds_each_items_row_of_every_vector():
    dataset, vectors = make_dataset(trained=[(0, 1)]), make_vectors()
    rows = item_table(dataset, vectors, ["text", "image"]).to_pylist()
    for row, item in enumerate(rows):
        names = ["item_id", "embedding", "content_embedding", "source", "weight_text", "weight_image"]
        assert list(item) == names
        assert item["item_id"] == f"item-{row}"
        assert item["embedding"] == vectors["item_ID"][row].tolist()
        assert item["content_embedding"] == vectors["content_ID"][row].tolist()
        assert [item["weight_text"], item["weight_image"]] == vectors["modality_weight_IM"][row].tolist()
        assert item["source"] == ("interactions+content" if row == 1 else "content")


def test_item_table_of_a_model_without_content_has_no_weights():
    vectors = make_vectors(num_modalities=0)
    table = item_table(make_dataset(trained=[(0, 1)]), vectors, [])
    assert table.column_names == ["item_id", "embedding", "content_embedding", "source"]
    assert table.column("source").to_pylist() == ["none", "interactions", "none", "none", "none", "none"]


def test_user_table_holds_each_users_vector():
    vectors = make_vectors()
    assert user_table(make_dataset(), vectors).to_pylist() == [
        {"user_id": f"user-{row}", "embedding": vectors["user_UD"][row].tolist()} for row in range(3)
    ]


def test_seen_table_holds_every_kept_interaction_sorted_held_out_ones_too():
    table = seen_table(make_dataset(trained=[(2, 0), (0, 5)], held=[(0, 1)], integer_ids=True))
    rows = [(row["user_id"], row["item_id"]) for row in table.to_pylist()]
    assert rows == [("user-0", 101), ("user-0", 105), ("user-2", 100)]


def test_seen_table_without_interactions_has_the_types_of_the_ids():
    table = seen_table(make_dataset(integer_ids=True))
    assert [table.num_rows, *(field.type for field in table.schema)] == [0, pa.string(), pa.int64()]


@pytest.mark.parametrize(("integer_ids", "kind"), [(False, pa.string()), (True, pa.int64())])
def test_tables_promise_no_nulls_and_plain_ids(integer_ids, kind):
    features, everything = np.eye(6, 3, dtype=np.float32), np.ones(6, dtype=bool)
    dataset = make_dataset(features={"text": features}, present={"text": everything}, integer_ids=integer_ids)
    vectors = make_vectors()
    tables = (
        item_table(dataset, vectors, ["text", "image"]),
        user_table(dataset, vectors),
        graph_table(dataset, vectors, 2),
        seen_table(dataset),
    )
    assert not any(field.nullable for table in tables for field in table.schema)
    assert [tables[0].schema.field("item_id").type, tables[2].schema.field("neighbour_id").type] == [kind, kind]
    assert tables[1].schema.field("user_id").type == pa.string()
    assert tables[0].schema.field("embedding").type == pa.list_(pa.float32(), 4)


def test_sources_all_four_combinations():
    weight_IM = np.array([[0.5, 0.5], [0, 0], [0, 1], [0, 0]], dtype=np.float32)
    assert sources(make_dataset(num_items=4, trained=[(0, 0), (1, 1), (2, 0)]), weight_IM) == [
        "interactions+content",
        "interactions",
        "content",
        "none",
    ]


def test_sources_held_out_interactions_do_not_count():
    dataset = make_dataset(num_items=2, trained=[(0, 0)], held=[(0, 1)])
    assert sources(dataset, np.zeros((2, 1), dtype=np.float32)) == ["interactions", "none"]


def naive_edges(ids, matrices, num_neighbours):
    """The other items of largest cosine above 0, for each modality in turn."""
    edges = []
    for name, (matrix, present) in matrices.items():
        for i in range(len(ids)):
            if not present[i]:
                continue
            others = [(reference.cosine(matrix[i], matrix[j]), j) for j in range(len(ids)) if present[j] and j != i]
            best = sorted(others, key=lambda pair: -pair[0])[:num_neighbours]
            edges += [(ids[i], ids[j], name, rank, value) for rank, (value, j) in enumerate(best, 1) if value > 0]
    return edges


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.integers(1, 9),
    num_neighbours=st.integers(1, 10),
    share=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_graph_table_is_a_loop_over_pairs(seed, num_items, num_neighbours, share):
    rng = np.random.default_rng(seed)
    features = {name: rng.normal(size=(num_items, 5)).astype(np.float32) for name in ("text", "image")}
    present = {name: rng.random(num_items) < share for name in features}
    dataset = make_dataset(num_items, features=features, present=present)
    vectors = make_vectors(num_items, seed=seed)
    table = graph_table(dataset, vectors, num_neighbours)
    matrices = {name: (features[name], present[name]) for name in ("image", "text")}
    matrices["learned"] = (vectors["item_ID"], np.ones(num_items, dtype=bool))
    expected = naive_edges(dataset.items["item_id"].to_list(), matrices, num_neighbours)
    expected.sort(key=lambda row: (row[0], row[2], row[3]))
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    np.testing.assert_allclose([row[4] for row in found], [row[4] for row in expected], rtol=1e-4, atol=1e-6)


def test_graph_table_modality_that_no_item_has_has_no_edge():
    features, nobody = np.ones((6, 2), dtype=np.float32), np.zeros(6, dtype=bool)
    table = graph_table(make_dataset(features={"text": features}, present={"text": nobody}), make_vectors(), 3)
    assert set(table.column("modality").to_pylist()) == {"learned"}
    assert table.schema == graph_table(make_dataset(), make_vectors(), 3).schema


def test_graph_table_item_that_lacks_the_modality_stands_on_neither_side():
    present = np.array([True, True, False, True, True, True])
    dataset = make_dataset(features={"text": np.ones((6, 2), dtype=np.float32)}, present={"text": present})
    edges = [row for row in graph_table(dataset, make_vectors(), 5).to_pylist() if row["modality"] == "text"]
    assert len(edges) == 5 * 4
    assert "item-2" not in {edge[side] for edge in edges for side in ("item_id", "neighbour_id")}


def test_make_manifest_says_what_the_results_of_the_stages_say(tmp_path):
    run = open_run(make_tiny(tmp_path), "r1", quiet())
    warm = WarmStart(run_id="r0", known_users=3)
    encoders = {"text": EncoderRecord(key="minilm", revision="1", dim=384, digest="cd")}
    digests = {"items.parquet": "ab"}
    prepared = PrepareResult(counts={"users": 3, "items": 6}, input_digests=digests, encoders=encoders)
    trained = TrainResult(
        epochs=3,
        best_epoch=2,
        warm_start=warm,
        modalities=["text"],
        device="cpu",
        processes=2,
        threads=1,
        torch="2.15.0",
        graph_recall={"text": {"initial": 0.9}},
    )
    metrics = Evaluation(test={"recall@20": 0.5})
    for stage, result in (
        (stages.PREPARE, prepared),
        (stages.TRAIN, trained),
        (stages.EVALUATE, EvaluateResult(metrics=metrics)),
    ):
        run_stage(run, stage, lambda _, __, result=result: result)
    folder = tmp_path / "beside"
    (folder / "items").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1, 2, 3]}), folder / "items/part-00000.parquet")
    (folder / "report.html").write_text("page")
    manifest = make_manifest(run, {"items": 30, "item_graph": 4}, "ef" * 32, folder)
    assert (manifest.run_id, manifest.release_digest, manifest.schema_version) == ("r1", "ef" * 32, SCHEMA_VERSION)
    assert manifest.counts == {"users": 3, "items": 30, "item_graph": 4}
    assert (manifest.input_digests, manifest.encoders, manifest.metrics) == (digests, encoders, metrics)
    shared = {field.name: getattr(trained, field.name) for field in dataclasses.fields(Training)}
    assert (manifest.training, manifest.training.warm_start) == (Training(**shared), warm)
    assert (manifest.embedding_dim, manifest.config) == (run.config.model.embedding_dim, run.config.as_dict())
    assert [(entry.path, entry.bytes, entry.rows) for entry in manifest.files] == [
        ("items/part-00000.parquet", (folder / "items/part-00000.parquet").stat().st_size, 3),
        ("report.html", 4, None),
    ]
    assert [entry.sha256 for entry in manifest.files] == [file_sha256(folder / entry.path) for entry in manifest.files]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run, done up to `evaluate`; its items have one picture between them."""
    config = make_tiny(tmp_path_factory.mktemp("tiny"))
    Image.new("RGB", (40, 30), "teal").save(config.base / "one.png")
    items = pl.read_parquet(config.base / "items.parquet").with_columns(image_path=pl.lit("one.png"))
    items.write_parquet(config.base / "items.parquet")
    run = open_run(config, "r1", quiet())
    for stage in (stages.PREPARE, stages.TRAIN, stages.EVALUATE):
        do_stage(run, stage)
    return run


def test_export_publishes_the_vectors_of_the_training(trained, tmp_path):
    result = export(trained, tmp_path)
    release = trained.store.release("r1")
    verified = verify_release(trained.store, "r1")
    manifest = read_manifest(release)
    assert result.release == str(release)
    assert result.digest == verified.digest == manifest.release_digest
    assert result.counts.items() <= manifest.counts.items()
    dataset = load_dataset(trained.folder(stages.PREPARE))
    vectors = load_file(local_path(trained.folder(stages.TRAIN) / VECTORS))
    items = pl.read_parquet(f"{release}/item_embeddings/*.parquet")
    assert items["item_id"].to_list() == dataset.items["item_id"].to_list()
    np.testing.assert_array_equal(items["embedding"].to_numpy(), vectors["item_ID"])
    graph = pl.read_parquet(f"{release}/item_graph/*.parquet")
    assert set(graph["modality"]) == {"text", "learned"}
    assert graph["rank"].max() == trained.config.model.neighbours


def test_export_leaves_neighbour_grids_in_the_stages_own_folder(trained, tmp_path):
    export(trained, tmp_path)
    grids = sorted(tmp_path.glob("*.svg"))
    assert "neighbours-at-random.svg" in [grid.name for grid in grids]
    assert all("<image " in grid.read_text() for grid in grids)


def test_export_again_with_the_same_vectors_leaves_the_release(trained, tmp_path):
    """The process died after publishing the release and before committing the stage."""
    first = export(trained, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in local_path(trained.store.release("r1")).rglob("*")}
    assert export(trained, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in local_path(trained.store.release("r1")).rglob("*")} == files


def test_export_beside_a_release_of_other_vectors_is_refused(trained, tmp_path):
    first = export(trained, tmp_path)
    file = local_path(trained.folder(stages.TRAIN) / VECTORS)
    payload = file.read_bytes()
    try:
        save_file({name: torch.from_numpy(2 * array) for name, array in load_file(file).items()}, file)
        commit_anew(trained.folder(stages.TRAIN))
        with pytest.raises(StoreError, match=r"releases/r1 was another release before; use a new run id"):
            export(trained, tmp_path)
    finally:
        file.write_bytes(payload)
        commit_anew(trained.folder(stages.TRAIN))
    assert read_manifest(trained.store.release("r1")).release_digest == first.digest
    assert not [path for path in local_path(trained.store.releases).iterdir() if path.name.startswith(".r1.")]


def test_export_vectors_that_are_not_finite_are_never_published(trained, tmp_path):
    run = dataclasses.replace(trained, id="r2")
    shutil.copytree(local_path(trained.path), local_path(run.path))
    file = local_path(run.folder(stages.TRAIN) / VECTORS)
    vectors = load_file(file)
    vectors["user_UD"][0, 0] = np.nan
    save_file({name: torch.from_numpy(array) for name, array in vectors.items()}, file)
    commit_anew(run.folder(stages.TRAIN))
    with pytest.raises(StoreError, match=r"user_vectors\.embedding holds NaN"):
        export(run, tmp_path)
    assert not run.store.release("r2").exists()
