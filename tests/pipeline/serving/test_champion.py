"""`load_champion` on a disk and in an object store: pinned, verified, answering as the registered model does."""

import shutil

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import ConfigError, InputError, StoreError
from pipeline.serving import load_champion
from pipeline.storage.files import list_files, local_path, publish_bytes, read_json, resolve, write_json
from tests.pipeline.release_factory import make_config, make_run


def crown(run):
    digest = read_json(run.store.release(run.id) / "manifest.json")["release_digest"]
    record = {"run_id": run.id, "digest": digest, "model_name": "m", "model_version": "1", "previous": None}
    write_json(run.store.champion, record)


@pytest.fixture
def run(tmp_path):
    run = make_run(make_config(tmp_path, database=False), "r1")
    crown(run)
    return run


def test_load_champion_answers_and_stays_when_another_is_promoted(run, tmp_path):
    first = load_champion(str(run.store.root), tmp_path / "cache")
    assert (first.run_id, first.folder.parent) == ("r1", tmp_path / "cache")
    before = first.predict({"user_id": ["user-0"]}, {"k": 3})
    crown(make_run(run.config, "r2", seed=1))
    second = load_champion(str(run.store.root), tmp_path / "cache")
    assert second.run_id == "r2"
    pd.testing.assert_frame_equal(first.predict({"user_id": ["user-0"]}, {"k": 3}), before)
    assert not second.predict({"user_id": ["user-0"]}, {"k": 3}).equals(before)


def test_load_champion_again_reads_no_release(run, tmp_path):
    load_champion(str(run.store.root), tmp_path / "cache")
    shutil.rmtree(local_path(run.store.releases))
    again = load_champion(str(run.store.root), tmp_path / "cache")
    assert isinstance(again.model.item_ID.base, np.memmap)
    assert len(again.predict([{"history": ["item-3"]}], {"mode": "recommend"})) == 20


def test_load_champion_damaged_release_is_refused_and_nothing_is_kept(run, tmp_path):
    part = local_path(run.store.release("r1") / "user_vectors/part-00000.parquet")
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match="does not verify"):
        load_champion(str(run.store.root), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")] == []


def test_load_champion_another_digest_than_the_record_says_is_refused(run, tmp_path):
    write_json(run.store.champion, {**read_json(run.store.champion), "digest": "ab" * 32})
    with pytest.raises(StoreError, match=r"names digest abab.*, but .*r1 has "):
        load_champion(str(run.store.root), tmp_path / "cache")


def test_load_champion_without_one_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no champion: there is no champion\.json"):
        load_champion(str(tmp_path))
    with pytest.raises(ConfigError, match="begins with gs://"):
        load_champion("gs://bucket/store")


def test_load_champion_whose_release_is_gone_is_refused(run, tmp_path):
    shutil.rmtree(local_path(run.store.release("r1")))
    with pytest.raises(StoreError, match="but there is no such release"):
        load_champion(str(run.store.root), tmp_path / "cache")


def test_load_champion_from_an_object_store_needs_it_once(run, tmp_path, s3_bucket):
    root = resolve(f"s3://{s3_bucket}/store", tmp_path)
    for file in list_files(run.store.root):
        if not file.startswith("mlflow"):
            publish_bytes(root / file, (run.store.root / file).read_bytes())
    there = load_champion(str(root), tmp_path / "cache")
    here = load_champion(str(run.store.root), tmp_path / "other")
    asked = {"user_id": ["user-0", "nobody"]}
    pd.testing.assert_frame_equal(there.predict(asked), here.predict(asked))
    root.fs.rm(root.path + "/releases", recursive=True)
    assert load_champion(str(root), tmp_path / "cache").digest == here.digest
    root.fs.rm(root.path, recursive=True)
