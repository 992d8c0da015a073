"""The whole pipeline on a small sample: once undisturbed, and then everything that must not change its result."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.dataset as ds
import pytest
from upath import UPath

from pipeline import stages
from pipeline.config.config import load_config
from pipeline.documents import as_document
from pipeline.errors import InputError, StoreError
from pipeline.opening import open_run
from pipeline.progress import Reporter
from pipeline.registry.audit import audit_release, verify_named_release
from pipeline.release.manifest import MANIFEST, read_manifest
from pipeline.release.verify import verify_release
from pipeline.sample import write_sample
from pipeline.serving.embed import embed_items
from pipeline.stages.order import do_stage
from pipeline.storage.files import read_json
from pipeline.storage.layout import Store

pytestmark = pytest.mark.integration

SETTINGS = [
    *("train.max_epochs=12", "train.device=cpu", "model.embedding_dim=16", "train.check_every=2"),
    "train.warm_start=none",  # else a night would go on from the one before
    "gate.baselines=[]",  # twelve epochs are worse than item-kNN, which the gate rightly refuses
]


def command(folder, run_id, *settings, name="run"):
    overrides = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return [
        *(sys.executable, "-c", "from pipeline.cli import main; main()", name, "--json"),
        *("-c", str(folder / "microrec.toml"), "--run-id", run_id, *overrides),
    ]


def finish(folder, run_id, *settings):
    done = subprocess.run(command(folder, run_id, *settings), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, num_items=90, num_users=120, seed=1)
    return folder


@pytest.fixture(scope="module")
def first(folder):
    return finish(folder, "first")[0]


def test_run_sample_gives_the_contracts_result(first):
    assert set(first) >= {"run_id", "release", "digest", "counts", "metrics", "mlflow", "seconds", "peak_memory_bytes"}
    names = {"recall@10", "recall@20", "precision@20", "ndcg@10", "ndcg@20", "hit@20", "map@20", "coverage@20"}
    for part in ("validation", "test"):
        assert names <= set(first["metrics"][part])
    assert first["mlflow"]["alias"] == "champion"
    assert set(first["seconds"]) >= {"validate", "extract", "prepare", "train", "evaluate", "export", "register"}


def test_run_same_id_again_does_nothing_twice(folder, first):
    release = UPath(first["release"])
    before = {path.name: path.stat().st_mtime_ns for path in release.iterdir()}
    again, log = finish(folder, "first")
    assert again["digest"] == first["digest"]
    assert again["mlflow"] == first["mlflow"]
    assert log.count("done before") == 7
    assert {path.name: path.stat().st_mtime_ns for path in release.iterdir()} == before


def test_run_new_id_encodes_nothing_and_gives_the_same_digest(folder, first):
    second, _ = finish(folder, "second")
    assert second["digest"] == first["digest"]
    extracted = json.loads((folder / "microrec-store/runs/second/extract/result.json").read_text())
    assert [entry["encoded"] for entry in extracted["modalities"].values()] == [0, 0]


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["extract", "train"])
def test_run_killed_and_repeated_gives_the_undisturbed_digest(folder, first, tmp_path, moment):
    store = tmp_path / "store"
    seen = {
        "extract": lambda: any(store.glob("features/*/*/part-*.parquet")),
        "train": lambda: any(store.glob("runs/killed/checkpoints/epoch-*.safetensors")),
    }[moment]
    process = subprocess.Popen(
        command(folder, "killed", f"store.root={store}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(seen, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (store / "runs/killed/train/_SUCCESS").exists()
    result, log = finish(folder, "killed", f"store.root={store}")
    assert result["digest"] == first["digest"]
    assert ("resumed after epoch" in log) == (moment == "train")


def prepared(folder, run_id, *settings):
    run = open_run(load_config(folder / "microrec.toml", [*SETTINGS, *settings]), run_id, Reporter())
    do_stage(run, stages.PREPARE)
    return run


def losses(run):
    return [epoch["loss"] for epoch in read_json(run.folder(stages.TRAIN) / "history.json")]


def lose_a_process(run, arguments):
    """Begin stage `train`, kill one of its processes when a checkpoint is there; return exit status and log."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any((run.path / "checkpoints").glob("epoch-*.safetensors")), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, log = process.communicate()
    assert run.result(stages.TRAIN) is None
    return process.returncode, log


def test_train_in_two_processes_one_killed_and_repeated_comes_to_the_losses_of_one(folder, first):
    run = prepared(folder, "two", "train.processes=2")
    status, log = lose_a_process(run, command(folder, "two", "train.processes=2", name="train"))
    assert status == 1
    assert re.search(r"microrec: train: process . of 2 failed: .*SIGKILL.*; continue with --run-id two$", log.strip())
    assert do_stage(run, stages.TRAIN).processes == 2
    assert losses(run) == pytest.approx(losses(replace(run, id="first")), rel=1e-4)


def test_train_begun_by_torchrun_is_resumed_by_one_process(folder, first, tmp_path):
    run = prepared(folder, "joined")
    (tmp_path / "program.py").write_text("from pipeline.cli import main; main()")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [*torchrun, str(tmp_path / "program.py"), *command(folder, "joined", name="train")[3:]]
    lose_a_process(run, arguments)
    assert do_stage(run, stages.TRAIN).processes == 1
    assert losses(run) == pytest.approx(losses(replace(run, id="first")), rel=1e-4)


def test_run_two_at_once_with_one_id_give_one_release(folder, first, tmp_path):
    started = [
        subprocess.Popen(
            command(folder, "twice", f"store.root={tmp_path / 'store'}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert json.loads(out)["digest"] == first["digest"]
    config = load_config(folder / "microrec.toml", [f"store.root={tmp_path / 'store'}"])
    mlflow = config.open_tracking().client
    versions = mlflow.search_model_versions("")
    assert sorted(version.name for version in versions) == ["microrec", "microrec-embed"]
    logged = mlflow.search_logged_models([mlflow.get_experiment_by_name("microrec").experiment_id])
    assert sorted(f"models:/{model.model_id}" for model in logged) == sorted(version.source for version in versions)


def test_run_interrupted_says_how_to_continue(folder, tmp_path):
    store = tmp_path / "store"
    process = subprocess.Popen(
        command(folder, "stopped", f"store.root={store}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: (store / "runs/stopped/validate/_SUCCESS").exists(), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; continue with --run-id stopped" in err
    assert "Traceback" not in err


def test_release_reads_with_polars_duckdb_and_pyarrow(first):
    items = f"{first['release']}/item_embeddings"
    by_polars = pl.read_parquet(f"{items}/*.parquet")
    by_duckdb = duckdb.sql(f"select * from '{items}/*.parquet'").pl()
    by_arrow = pl.from_arrow(ds.dataset(items, format="parquet", exclude_invalid_files=True).to_table())
    assert by_polars.height == first["counts"]["item_embeddings"]
    for other in (by_duckdb, by_arrow):
        assert other["item_id"].equals(by_polars["item_id"])
        np.testing.assert_array_equal(np.stack(other["embedding"].to_list()), by_polars["embedding"].to_numpy())


def test_release_scores_are_those_of_the_evaluation(folder, first):
    """Recall@20 from Parquet alone, with plain loops, is the recall the run reported."""
    items = pl.read_parquet(f"{first['release']}/item_embeddings/*.parquet")
    users = pl.read_parquet(f"{first['release']}/user_vectors/*.parquet")
    scores = users["embedding"].to_numpy() @ items["embedding"].to_numpy().T
    prepared = pl.read_parquet(folder / "microrec-store/runs/first/prepare/interactions.parquet")
    recalls = []
    for (user,), rows in prepared.group_by("user_index"):
        names = ("train", "validation", "test")
        parts = {name: set(rows.filter(pl.col("split") == name)["item_index"]) for name in names}
        if parts["test"]:
            order = [item for item in np.argsort(-scores[user]) if item not in parts["train"] | parts["validation"]]
            recalls.append(len(parts["test"] & set(order[:20])) / len(parts["test"]))
    assert np.mean(recalls) == pytest.approx(first["metrics"]["test"]["recall@20"], abs=1e-9)


def verify(config, name):
    store = config.open_store()
    return as_document(audit_release(store, config.open_tracking(), verify_named_release(store, name)))


def test_verify_accepts_the_release_and_names_what_was_damaged(folder, first, tmp_path):
    config = load_config(folder / "microrec.toml", SETTINGS)
    assert verify(config, "first")["digest"] == first["digest"]
    copy = Store(UPath(str(tmp_path)))
    for damage, message in (("flip", "another sha256"), ("remove", "is missing"), ("add", "not in the manifest")):
        subprocess.run(["cp", "-r", first["release"], str(tmp_path / "releases")], check=False)
        (tmp_path / "releases").mkdir(exist_ok=True)
        subprocess.run(["cp", "-rT", first["release"], str(tmp_path / "releases" / "first")], check=True)
        part = tmp_path / "releases/first/user_vectors/part-00000.parquet"
        if damage == "flip":
            payload = bytearray(part.read_bytes())
            payload[len(payload) // 2] ^= 1
            part.write_bytes(payload)
        elif damage == "remove":
            part.unlink()
        else:
            part.with_name("part-00009.parquet").write_bytes(b"")
        with pytest.raises(StoreError, match=message):
            verify_release(copy, "first")


def test_verify_unfinished_release_does_not_exist(folder, first, tmp_path):
    subprocess.run(["cp", "-rT", first["release"], str(tmp_path / "release")], check=True)
    (tmp_path / "release" / "_SUCCESS").unlink()
    with pytest.raises(StoreError, match="no _SUCCESS"):
        read_manifest(UPath(str(tmp_path / "release")))


def test_manifest_says_what_the_release_was_made_of(first):
    manifest = read_manifest(UPath(first["release"]))
    assert manifest.release_digest == first["digest"]
    assert set(manifest.encoders) == {"image", "text"}
    assert any(name.endswith("items.parquet") for name in manifest.input_digests)
    assert MANIFEST not in {entry.path for entry in manifest.files}


def test_embed_new_items_stand_near_their_twins(folder, first, tmp_path):
    catalogue = pl.read_parquet(folder / "items.parquet")
    new = catalogue.filter(pl.col("image_path").is_not_null() & pl.col("description").is_not_null()).head(5)
    new.with_columns(pl.lit("new-").add(pl.col("item_id")).alias("item_id")).write_parquet(tmp_path / "new.parquet")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from pipeline.cli import main; main()", "embed"),
            *("-c", str(folder / "microrec.toml")),
            *("--items", str(tmp_path / "new.parquet"), "--out", str(tmp_path / "out"), "--release", "first", "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = pl.read_parquet(tmp_path / "out/item_embeddings/*.parquet")
    known = pl.read_parquet(f"{first['release']}/item_embeddings/*.parquet")
    twins = [known["item_id"].to_list().index(name.removeprefix("new-")) for name in got["item_id"]]
    for column in ("embedding", "content_embedding"):
        theirs, ours = (unit_rows(table[column]) for table in (known, got))
        rank = (theirs @ ours.T >= (theirs[twins] * ours).sum(1)).sum(0)
        assert np.median(rank) <= 9  # an item's twin is among the nearest tenth of the catalogue


def unit_rows(column):
    matrix = np.stack(column.to_list())
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)


def test_verify_path_outside_the_store_is_refused(folder, first, tmp_path):
    config = load_config(folder / "microrec.toml", SETTINGS)
    assert verify(config, first["release"])["digest"] == first["digest"]
    with pytest.raises(InputError, match=r"is not in .*give the store it belongs to"):
        verify(config, str(tmp_path / "first"))


def test_embed_with_a_release_of_another_store_is_refused(folder, first, tmp_path):
    config = load_config(folder / "microrec.toml", [*SETTINGS, f"store.root={tmp_path / 'other'}"])
    with pytest.raises(InputError, match=r"is not in .*give the store it belongs to"):
        embed_items(config, str(folder / "items.parquet"), str(tmp_path / "out"), first["release"], Reporter())


def test_run_id_of_another_store_is_not_found(folder):
    config = load_config(folder / "microrec.toml", SETTINGS)
    with pytest.raises(InputError, match="no release 'third'"):
        verify(config, "third")
