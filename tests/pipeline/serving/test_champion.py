"""`load_champion` on a disk and in an object store: pinned, verified, answering as the registered model does."""

import logging
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from pipeline.errors import ConfigError, InputError, StoreError
from pipeline.release.increment import SIGNED
from pipeline.release.signature import SIGNATURE, read_signing_key, sign
from pipeline.serving import load_champion
from pipeline.storage.files import list_files, local_path, publish_bytes, read_json, resolve, write_json
from tests.pipeline.release.test_signature import write_pair
from tests.pipeline.release_factory import give_increment, make_config, make_run


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
    with pytest.raises(InputError, match="may be written by other users"):
        load_champion(str(run.store.root))
    place.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="may be written by other users"):
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


PART, RECORD = "item_embeddings/part-00000.parquet", "increment.json"


def damage(folder, file, how):
    """Do to a file of an increment what a disk, a copy or a hand does."""
    place = local_path(folder / file)
    payload = bytearray(place.read_bytes())
    if how == "gone":
        place.unlink()
    elif how == "cut":
        place.write_bytes(payload[: len(payload) // 2])
    elif how == "empty":
        place.write_bytes(b"")
    elif how == "nested":
        place.write_bytes(b"[" * 200_000)
    elif how == "no text":
        place.write_bytes(rb'{"number": "\ud800", "seal": "x"}')
    elif how == "a folder":
        place.unlink()
        place.mkdir()
    elif how == "flipped":
        payload[len(payload) // 2] ^= 1
        place.write_bytes(payload)
    else:  # altered by hand, with a seal that fits
        write_json(folder / file, {**read_json(folder / file), **how})


@pytest.mark.parametrize(
    ("file", "how", "why"),
    [
        (PART, "cut", r"part-00000\.parquet is damaged: increment\.json has another sha256"),
        (PART, "empty", r"part-00000\.parquet is damaged"),
        (PART, "flipped", r"part-00000\.parquet is damaged"),
        (PART, "gone", r"part-00000\.parquet is missing"),
        (RECORD, "cut", r"increment\.json is not valid JSON"),
        (RECORD, "empty", r"increment\.json is not valid JSON"),
        (RECORD, "flipped", r"increment\.json is (not valid JSON|damaged)"),
        (RECORD, "gone", r"increment\.json is missing"),
        (RECORD, "a folder", r"increment\.json is missing"),
        (RECORD, "nested", r"increment\.json is not valid JSON"),
        (RECORD, "no text", r"increment\.json is not valid JSON"),
        (RECORD, {"items": 7}, r"00002 does not verify: it has 2 items, increment\.json says 7"),
        (RECORD, {"number": 7}, r"increment\.json says number 7"),
        (RECORD, {"table_digest": "ab" * 32}, "00002 does not verify: its rows give another digest"),
        (RECORD, {"release_digest": "ab" * 32}, "carries another release's digest in its footer"),
        (RECORD, {"files": []}, r"part-00000\.parquet is not in increment\.json"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_load_champion_damaged_increment_is_left_out_with_one_warning(run, tmp_path, caplog, file, how, why):
    give_increment(run.config, "r1", ["new-1"])
    before = load_champion(str(run.store.root), tmp_path / "cache")
    give_increment(run.config, "r1", ["new-1", "new-2"], seed=5)
    damage(run.store.increments_of("r1") / "00002", file, how)
    assert caplog.records == []
    loaded = load_champion(str(run.store.root), tmp_path / "cache")
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert told.exc_info is None
    assert told.getMessage().startswith("serving r1 with increment 1: ")
    assert re.search(why, told.getMessage())
    assert "\n" not in told.getMessage()
    assert (loaded.run_id, loaded.increment) == ("r1", 1)
    asked = {"item_id": ["new-1"]}, {"mode": "similar"}
    pd.testing.assert_frame_equal(loaded.predict(*asked), before.predict(*asked))


def test_load_champion_whose_increments_are_all_damaged_is_the_release_alone(run, tmp_path, caplog):
    plain = load_champion(str(run.store.root), tmp_path / "cache")
    for number in (1, 2):
        give_increment(run.config, "r1", [f"new-{number}"])
        damage(run.store.increments_of("r1") / f"0000{number}", PART, "flipped")
    loaded = load_champion(str(run.store.root), tmp_path / "cache")
    (told,) = caplog.messages
    assert told.startswith("serving r1 with no increment: ")
    assert ("00001" in told, "00002" in told, loaded.increment, loaded.folder) == (True, True, None, plain.folder)


def test_load_champion_increment_of_another_release_that_had_the_id_is_passed_over_in_silence(run, tmp_path, caplog):
    other = make_run(make_config(tmp_path / "other", database=False), "r1", seed=3)
    given = give_increment(other.config, "r1", ["new-1"])
    shutil.copytree(local_path(given.folder), local_path(run.store.increments_of("r1")) / "00001")
    assert load_champion(str(run.store.root), tmp_path / "cache").increment is None
    assert caplog.records == []


@pytest.fixture
def trusted(run, tmp_path):
    """The public key of those who signed the champion."""
    private, public = write_pair(tmp_path, "ours")
    sign(run.store.release(run.id), read_signing_key(private))
    return public


def test_load_champion_with_the_key_that_signed_it_answers(run, trusted, tmp_path):
    _, other = write_pair(tmp_path, "theirs")
    loaded = load_champion(str(run.store.root), tmp_path / "cache", [other, str(trusted)])
    assert len(loaded.predict({"user_id": ["user-0"]}, {"k": 3})) == 3


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(("wrong", "problem"), [("unsigned", "is not signed"), ("key", "by a trusted key")])
def test_load_champion_with_a_public_key_refuses_what_it_did_not_sign(run, trusted, tmp_path, wrong, problem, cached):
    if wrong == "unsigned":
        (run.store.release(run.id) / SIGNATURE).unlink()
    else:
        _, trusted = write_pair(tmp_path, "theirs")
    if cached:
        load_champion(str(run.store.root), tmp_path / "cache")
    with pytest.raises(StoreError, match=problem):
        load_champion(str(run.store.root), tmp_path / "cache", [trusted])


def test_load_champion_with_a_public_key_uses_nothing_that_was_cached_without_one(run, trusted, tmp_path):
    """The signature is over the manifest, which has more than the digest: how a history is folded in, too."""
    manifest = run.store.release(run.id) / "manifest.json"
    signed = manifest.read_bytes()
    write_json(manifest, {**read_json(manifest), "fold_in": {"pair_weight": 0.5, "l2": 1.0, "scale": 9.0}})
    forged = load_champion(str(run.store.root), tmp_path / "cache")
    manifest.write_bytes(signed)
    loaded = load_champion(str(run.store.root), tmp_path / "cache", [trusted])
    assert (loaded.digest, loaded.folder == forged.folder) == (forged.digest, False)


def test_load_champion_with_a_public_key_serves_the_newest_increment_that_is_signed(run, trusted, tmp_path, caplog):
    found = give_increment(run.config, run.id, ["new-1"])
    assert load_champion(str(run.store.root), tmp_path / "cache", [trusted]).increment is None
    assert "serving r1 with no increment" in caplog.text
    assert re.search(r"00001 is not signed: it has no increment\.sig", caplog.text)
    sign(found.folder, read_signing_key(tmp_path / "ours.pem"), SIGNED)
    second = give_increment(run.config, run.id, ["new-1", "new-2"])
    local_path(second.folder / SIGNED.signature).mkdir()
    assert load_champion(str(run.store.root), tmp_path / "cache", [trusted]).increment == 1
    local_path(second.folder / SIGNED.signature).rmdir()
    assert load_champion(str(run.store.root), tmp_path / "cache", [trusted]).increment == 1
    assert load_champion(str(run.store.root), tmp_path / "cache").increment == 2


def test_load_champion_without_a_key_in_a_file_or_without_a_list_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"public_keys: .*absent\.pub cannot be read"):
        load_champion(str(run.store.root), tmp_path / "cache", [tmp_path / "absent.pub"])
    with pytest.raises(InputError, match="expected a list of files"):
        load_champion(str(run.store.root), tmp_path / "cache", "release.pub")
