"""`load_champion` on a disk and in an object store: pinned, verified, answering as the registered model does."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

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


def test_predict_within_another_models_predict_answers_its_own_question(run, tmp_path):
    """The outer model's data and parameters mean nothing here."""
    champion = load_champion(str(run.store.root), tmp_path / "cache")
    expected = champion.predict({"user_id": ["user-1"]}, {"k": 2})
    from mlflow.pyfunc import PyFuncModel  # warns when it is imported first

    class Outer(PyFuncModel):
        def __init__(self):
            pass

        def predict(self, data, params=None):
            return champion.predict({"user_id": ["user-1"]}, {"k": 2})

    pd.testing.assert_frame_equal(Outer().predict(pd.DataFrame({"query": ["x"]}), {"depth": 3}), expected)
    with pytest.raises(MlflowException, match="there is no column 'user'; did you mean 'user_id'"):
        champion.predict({"user": ["user-1"]})


@pytest.mark.parametrize("damage", ["bytes", "gone", "added", "unrecorded"])
def test_load_champion_cache_that_is_not_what_was_written_is_made_anew(run, tmp_path, damage):
    first = load_champion(str(run.store.root), tmp_path / "cache")
    expected, file = first.predict({"user_id": ["user-0"]}), first.folder / "item_ID.npy"
    whole = file.read_bytes()
    if damage == "bytes":
        file.unlink()
        file.write_bytes(whole[:-4] + b"\0\0\0\x3f")
    elif damage == "added":
        (first.folder / "more.npy").write_bytes(b"x")
    else:
        (file if damage == "gone" else first.folder / "digests.json").unlink()
    again = load_champion(str(run.store.root), tmp_path / "cache")
    assert (again.folder / "item_ID.npy").read_bytes() == whole
    assert not (again.folder / "more.npy").exists()
    pd.testing.assert_frame_equal(again.predict({"user_id": ["user-0"]}), expected)


def test_load_champion_default_cache_that_others_may_write_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = tmp_path / f"microrec-{os.getuid()}"
    assert load_champion(str(run.store.root)).folder.parent == place
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(0o777)
    with pytest.raises(InputError, match="not this user's alone to write"):
        load_champion(str(run.store.root))
    place.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="not this user's alone to write"):
        load_champion(str(run.store.root))


def test_user_id_of_text_is_of_the_releases_kind(run, tmp_path):
    champion = load_champion(str(run.store.root), tmp_path / "cache")
    assert (champion.user_id("7"), champion.item_id("7")) == ("7", "7")
    numbered = make_run(make_config(tmp_path / "numbers", database=False), "r1", integer_ids=True)
    crown(numbered)
    champion = load_champion(str(numbered.store.root), tmp_path / "cache")
    given = ["101", "-7", "0", "007", "1e3", "x", ""]
    assert [champion.item_id(one) for one in given] == [101, -7, 0, "007", "1e3", "x", ""]
    assert champion.predict({"user_id": [champion.user_id(str(2**40))]})["source"][0] == "user"
