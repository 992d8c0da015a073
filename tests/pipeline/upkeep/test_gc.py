"""What goes and what stays, on real releases in a real registry, on a disk and in an object store."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import mlflow
import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient
from upath import UPath

from pipeline import stages
from pipeline.cli import main
from pipeline.dataset.feature_store import Encoded, FeatureStore
from pipeline.dataset.records import EncoderRecord
from pipeline.errors import InputError, MicrorecError
from pipeline.opening import open_run
from pipeline.registry import promotion
from pipeline.registry.standing import hold
from pipeline.release.increment import SIGNED, find_increment
from pipeline.release.manifest import read_manifest
from pipeline.release.signature import read_signing_key, sign
from pipeline.release.verify import verify_release
from pipeline.run import run_stage
from pipeline.serving import load_champion
from pipeline.stages.register import register
from pipeline.storage import use
from pipeline.storage.files import create_bytes, is_complete, local_path, read_json, write_json
from pipeline.storage.listing import list_stored
from pipeline.upkeep import sweep
from pipeline.upkeep.gc import collect
from tests.pipeline.release.test_signature import write_pair
from tests.pipeline.release_factory import give_increment, make_config, make_run, quiet
from tests.pipeline.tiny import make_tiny

LATER = datetime.now(UTC) + timedelta(days=40)
NIGHTS = ("n1", "n2", "n3", "n4", "n5")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five nights; n1, n2 and n4 were registered, n2 and then n4 promoted."""
    folder = tmp_path_factory.mktemp("shop")
    config = make_config(folder)
    tracking = config.open_tracking()
    for number, run_id in enumerate(NIGHTS):
        run = make_run(config, run_id, seed=number, judged=True)
        if run_id in ("n3", "n5"):
            continue  # registering takes a second
        done = run_stage(run, stages.REGISTER, register)
        if run_id != "n1":
            promotion.promote(run.store, tracking, config.gate, done.model_version, quiet(), force=True)
    (folder / "store/runs/n3/checkpoints").mkdir()
    (folder / "store/runs/n3/checkpoints/epoch-000001.safetensors").write_bytes(b"c" * 1000)
    (folder / "store/runs/n4/checkpoints").mkdir()
    (folder / "store/runs/n4/checkpoints/epoch-000001.safetensors").write_bytes(b"c" * 1000)
    return folder


@pytest.fixture
def config(made, tmp_path):
    """A copy of that store: commands correct MLflow's locations in it."""
    shutil.copytree(made / "store", tmp_path / "store")
    return make_config(tmp_path)


def gc(config, **options):
    return collect(config, quiet(), **{"keep": 0, "keep_days": 30, "now": LATER, **options})


def names(found, kind):
    return [item.name for item in found.items if item.kind == kind]


def files(config):
    root = config.open_store().root
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def client(config):
    return MlflowClient(config.tracking_uri, config.tracking_uri)


def age(folder, days):
    """Have all files of a folder be that old."""
    moment = time.time() - days * 86400
    for path in folder.rglob("*"):
        os.utime(path, (moment, moment))


def test_gc_says_what_can_go_with_its_room_and_removes_nothing(config):
    before = files(config)
    found = gc(config)
    assert (names(found, "run"), names(found, "release"), names(found, "version")) == (
        ["n1", "n3", "n5"],
        ["n1", "n3", "n5"],
        ["microrec 1"],
    )
    assert names(found, "checkpoints") == ["n4"]  # of a training that is done; those of n3 go with their run
    assert {one.run_id: one.reason for one in found.kept} == {"n2": "a champion before", "n4": "the champion"}
    store = config.open_store()
    for item in found.items:
        if item.kind in ("run", "release"):
            folder = store.run(item.name) if item.kind == "run" else store.release(item.name)
            assert item.bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert found.bytes == sum(item.bytes for item in found.items)
    assert all(item.bytes > 1000 for item in found.items if item.kind == "version")
    assert files(config) - before <= {"mlflow.lock", ".lock"}
    assert before <= files(config)


def test_gc_apply_removes_what_it_said_and_leaves_what_it_must(config):
    said = gc(config)
    done = gc(config, apply=True)
    assert (done.bytes, [item.name for item in done.items]) == (said.bytes, [item.name for item in said.items])
    assert all(item.removed for item in done.items)
    store, tracking = config.open_store(), config.open_tracking()
    assert sorted(path.name for path in store.runs.iterdir() if path.is_dir()) == ["n2", "n4"]
    assert tracking.version_numbers() == ["2", "3"]
    models = [path for path in (store.root / "mlartifacts/models").glob("*/artifacts") if any(path.iterdir())]
    assert len(models) == 2
    logged = client(config).search_runs([client(config).get_experiment_by_name("microrec").experiment_id])
    assert sorted(run.info.run_name for run in logged) == ["n1", "n2", "n4"]  # their figures are history
    assert not (store.run("n4") / "checkpoints/epoch-000001.safetensors").exists()
    assert gc(config).items == []
    for run_id in ("n2", "n4"):
        verify_release(store, run_id)
    moved = promotion.rollback(store, tracking, quiet())
    assert (moved.run_id, promotion.champion_problems(store, tracking)) == ("n2", [])
    with tracking.files_of("@champion") as folder:
        model = mlflow.pyfunc.load_model(str(folder))
        assert len(model.predict({"user_id": ["user-1"]})) == 20


def test_gc_newest_releases_and_the_last_days_stay(config):
    assert names(gc(config, keep=1), "release") == ["n1", "n3"]
    age(config.open_store().runs / "n1", 10)
    age(config.open_store().releases / "n1", 10)
    now = datetime.now(UTC) + timedelta(days=2)
    assert names(gc(config, keep_days=5, now=now), "release") == ["n1"]
    with pytest.raises(InputError, match="neither may be below 0"):
        gc(config, keep=-1)


def test_gc_what_somebody_refers_to_stays_and_says_why(config):
    store = config.open_store()
    hold(store, "a sale", quiet())
    client(config).set_registered_model_alias("microrec", "shop-b", "1")
    night = open_run(config, "night-20261124T020000", quiet())  # a backfill, in progress
    create_bytes(night.path / "predecessor.json", b'{"run_id": "n3", "digest": "d"}')
    for run_id in ("n3", "n5"):
        age(store.run(run_id), 30)
        age(store.release(run_id), 30)
    named = config.with_values({"train.warm_start": "n5"})
    found = collect(named, quiet(), keep=0, keep_days=0, apply=True, now=datetime.now(UTC) + timedelta(days=3))
    assert {one.run_id: one.reason for one in found.kept} == {
        "n1": "alias shop-b in the registry",
        "n2": "a champion before",
        "n3": "run night-20261124T020000 stands on it",
        "n4": "the champion, held",
        "n5": "train.warm_start names it",
        "night-20261124T020000": "in progress",
    }
    assert names(found, "release") == []
    assert all((store.release(name)).exists() for name in NIGHTS)


def test_gc_run_that_waits_for_an_approval_stays_until_that_is_over(config):
    open_run(config, "refused", quiet())
    for days, stays in ((7.5, True), (9, False)):  # seven are waited, and one day more
        found = gc(config, keep_days=0, now=datetime.now(UTC) + timedelta(days=days))
        assert ("refused" in {one.run_id for one in found.kept}) == stays


@pytest.mark.parametrize("what", ["opened", "promoted", "aliased"])
def test_gc_what_comes_to_be_needed_in_the_last_moment_stays(config, monkeypatch, what):
    store, claim = config.open_store(), sweep.claim

    def meanwhile(folder):
        claimed = claim(folder)
        if folder == store.run("n1"):
            if what == "opened":
                with pytest.raises(MicrorecError, match="n1 is being removed"):
                    open_run(config, "n1", quiet())
            elif what == "promoted":
                write_json(store.champion, {**read_json(store.champion), "run_id": "n1"})
            else:
                client(config).set_registered_model_alias("microrec", "new", "1")
        return claimed

    monkeypatch.setattr(sweep, "claim", meanwhile)
    found = gc(config, apply=True)
    assert {item.name: item.removed for item in found.items if item.kind == "run"} == {
        "n1": False,
        "n3": True,
        "n5": True,
    }
    assert "n1 stays" in found.notes[0]
    assert is_complete(store.release("n1"))
    assert not (store.run("n1") / use.REMOVING).exists()


def test_gc_cut_short_is_finished_by_the_next(config, monkeypatch):
    def die(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sweep, "remove_folder", die)
        with pytest.raises(KeyboardInterrupt):
            gc(config, apply=True)
    assert config.open_tracking().version_numbers() == ["2", "3"]  # n1's is gone, its release is not
    done = gc(config, apply=True, keep=9)  # the claim of the one that died stands
    assert names(done, "release") == ["n1"]
    assert not config.open_store().run("n1").exists()


def test_gc_increments_go_with_their_release_and_the_earlier_ones_a_day_after_the_last(config):
    store = config.open_store()
    for run_id in ("n1", "n4"):
        give_increment(config, run_id, ["new-a"])
        give_increment(config, run_id, ["new-a", "new-b"])
    (store.increments_of("n4") / "00003/item_embeddings").mkdir(parents=True)  # an attempt that was cut short
    soon = gc(config, now=datetime.now(UTC) + timedelta(hours=20), keep_days=0)
    assert names(soon, "increments") == []
    found = gc(config, apply=True)
    assert names(found, "increments") == ["n1", "n4: earlier ones"]
    assert not store.increments_of("n1").exists()
    assert not (store.increments_of("n4") / "00001").exists()
    left = find_increment(store.increments_of("n4"), read_manifest(store.release("n4")).release_digest)
    assert left.table.column("item_id").to_pylist() == ["new-a", "new-b"]
    assert gc(config).items == []


def test_gc_increments_that_come_every_hour_go_a_day_after_the_next_one(config):
    store = config.open_store()
    increments = local_path(store.increments_of("n4"))
    for number, hours in enumerate((30, 26, 25, 2, 1), start=1):
        give_increment(config, "n4", [f"new-{number}"])
        age(increments / f"{number:05d}", hours / 24)
    found = gc(config, apply=True, now=datetime.now(UTC))
    assert names(found, "increments") == ["n4: earlier ones"]
    left = sorted(folder.name for folder in increments.iterdir() if folder.name.isdecimal())
    assert left == ["00003", "00004", "00005"]  # 3 counted until two hours ago: somebody may be reading it


def test_gc_increments_before_a_damaged_one_stay_for_readers_take_the_newest_sound_one(config):
    store = config.open_store()
    for number in (1, 2, 3):
        give_increment(config, "n4", [f"new-{number}"])
    part = local_path(store.increments_of("n4") / "00003/item_embeddings/part-00000.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    found = gc(config, apply=True)
    assert names(found, "increments") == []
    (note,) = found.notes
    assert note.startswith("increments of n4 stay: ")
    assert "00003" in note
    assert load_champion(str(store.root), local_path(store.root).parent / "cache").increment == 2
    give_increment(config, "n4", ["new-4"])
    assert names(gc(config, apply=True), "increments") == ["n4: earlier ones"]
    assert load_champion(str(store.root), local_path(store.root).parent / "cache").increment == 4


def test_gc_increments_before_one_that_is_not_signed_stay(config, tmp_path):
    private, public = write_pair(tmp_path, "ours")
    store, key = config.open_store(), read_signing_key(private)
    sign(store.release("n4"), key)
    for number in (1, 2, 3):
        found = give_increment(config, "n4", [f"new-{number}"])
        if number < 3:
            sign(found.folder, key, SIGNED)
    asking = replace(config, export=replace(config.export, public_keys=(str(public),)))
    collected = gc(asking, apply=True)
    assert names(collected, "increments") == []
    assert "00003 is not signed" in collected.notes[0]
    assert load_champion(str(store.root), tmp_path / "cache", [public]).increment == 2


def test_gc_increments_of_the_release_that_a_rollback_may_bring_back_stay(config):
    store = config.open_store()
    give_increment(config, "n2", ["new-1"])  # champion before n4
    assert names(gc(config, apply=True), "increments") == []
    promotion.rollback(store, config.open_tracking(), quiet(), reason="try")
    assert load_champion(str(store.root), local_path(store.root).parent / "cache").increment == 1


def test_gc_version_of_another_store_stays(config):
    client(config).set_model_version_tag("microrec", "1", "microrec.release_digest", "another store's")
    found = gc(config, apply=True)
    assert names(found, "version") == []
    assert "1" in config.open_tracking().version_numbers()


def add_features(config, run_id, used, key="enc"):
    """Three parts of one encoder's features, of which a run refers to some."""
    store = config.open_store()
    features = FeatureStore(store.features("text", key))
    for part in ("a", "b", "c"):
        features.write_part([Encoded(part, np.ones(4, dtype=np.float32))], 4)
    encoder = EncoderRecord(key=key, revision="1", dim=4, digest="d")

    parts = features.parts_of(pl.Series(used))
    file = store.run(run_id) / "prepare/result.json"
    recorded = {**read_json(file), "encoders": {"text": vars(encoder)}, "feature_parts": {"text": parts}}
    write_json(file, recorded)
    return features.folder, parts


def test_gc_features_that_no_run_which_stays_refers_to_go(config):
    folder, used = add_features(config, "n4", ["a", "c"])
    assert len(used) == 2
    other, _ = add_features(config, "n5", ["a"], key="former")  # which goes
    assert names(gc(config, now=datetime.now(UTC) + timedelta(days=20)), "features") == []  # too young
    found = gc(config, apply=True)
    assert names(found, "features") == ["text/former", "text/enc: 1 parts"]
    assert sorted(path.name for path in folder.glob("part-*")) == used
    assert not other.exists()


def test_gc_features_of_an_earlier_versions_run_stay_whole(config):
    folder, _ = add_features(config, "n4", ["a"])
    file = config.open_store().run("n4") / "prepare/result.json"
    write_json(file, {**read_json(file), "feature_parts": None})
    assert names(gc(config), "features") == []
    assert folder.exists()


def test_gc_features_stay_while_a_run_may_read_them(config, monkeypatch):
    folder, _ = add_features(config, "n4", ["a"])
    open_run(config, "tonight", quiet())
    found = gc(config, keep_days=0, apply=True, now=datetime.now(UTC) + timedelta(days=2))
    assert found.notes == ["features stay: run tonight is in progress"]
    shutil.rmtree(config.open_store().run("tonight"))
    claim = sweep.claim

    def meanwhile(claimed):  # a run signs between the look and the claim
        use.publish_bytes(config.open_store().run("tonight") / use.OPENED, b"x")
        return claim(claimed)

    monkeypatch.setattr(sweep, "claim", meanwhile)
    found = gc(config, apply=True, keep=9)
    assert found.notes == ["features stay: a run was opened meanwhile"]
    assert len(list(folder.glob("part-*"))) == 3


def test_open_run_waits_while_features_are_being_removed(config, monkeypatch):
    claimed = use.claim(config.open_store().root / "features")
    waited = []
    monkeypatch.setattr(use.time, "sleep", lambda seconds: (waited.append(seconds), use.withdraw(claimed)))
    open_run(config, "tonight", quiet())
    assert waited == [use.PAUSE]
    use.publish_bytes(claimed, (datetime.now(UTC) - timedelta(hours=1)).isoformat().encode())  # of one that died
    open_run(config, "tonight", quiet())
    assert waited == [use.PAUSE]


def test_gc_in_an_object_store(s3_bucket, tmp_path):
    root, uri = f"s3://{s3_bucket}/store", f"sqlite:///{tmp_path}/store/mlflow.db"
    config = make_config(tmp_path, store={"root": root}, mlflow={"tracking_uri": uri})
    store, tracking = config.open_store(), config.open_tracking()
    for number, run_id in enumerate(("n1", "n2")):
        run = make_run(config, run_id, seed=number, judged=True)
        done = run_stage(run, stages.REGISTER, register)
    promotion.promote(store, tracking, config.gate, done.model_version, quiet(), force=True)
    folder, used = add_features(config, "n2", ["b"])
    said, done = gc(config), gc(config, apply=True)
    assert names(said, "run") == names(said, "release") == ["n1"]
    assert names(done, "features") == ["text/enc: 2 parts"]
    assert (done.bytes, tracking.version_numbers()) == (said.bytes, ["2"])
    assert list_stored(store.run("n1")) == list_stored(store.release("n1")) == {}
    assert [path.name for path in folder.glob("part-*")] == used
    verify_release(store, "n2")
    make_run(config, "n1", seed=2)  # the id is free again


@pytest.mark.integration
def test_gc_again_and_again_beside_a_night_and_both_end_well(made, tmp_path, capsys):
    shutil.copytree(made / "store", tmp_path / "store")
    config = make_tiny(tmp_path, gate={"metric": "none"})
    store = config.open_store()
    age(UPath(str(tmp_path / "store")), 60)
    text = (tmp_path / "microrec.toml").write_text(TOML)
    assert text
    options = ["-c", str(tmp_path / "microrec.toml"), "--json"]
    program = "from pipeline.cli import main; main()"
    night = subprocess.Popen(
        [sys.executable, "-c", program, "run", "--run-id", "tonight", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    times, removed = 0, set()
    while night.poll() is None:
        done = collect(config, quiet(), keep=0, keep_days=0, apply=True)
        removed |= {item.name for item in done.items if item.kind == "release" and item.removed}
        times += 1
        time.sleep(0.2)
    _, told = night.communicate()
    assert night.returncode == 0, told
    assert times > 3
    assert removed == {"n1", "n3", "n5"}
    with pytest.raises(SystemExit) as ended:
        main(["gc", "--keep", "0", "--keep-days", "0", "--apply", *options])
    assert ended.value.code == 0
    verify_release(store, "tonight")
    assert read_json(store.champion)["run_id"] == "tonight"
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["verify", "tonight", *options])
    assert ended.value.code == 0, capsys.readouterr().err


TOML = """
[catalogue]
items = "items.parquet"
interactions = ["interactions.parquet"]
[store]
root = "store"
[modalities.text]
encoder = "precomputed"
vectors = "text.parquet"
[model]
embedding_dim = 8
neighbours = 4
[train]
max_epochs = 2
check_every = 1
device = "cpu"
batch_size = 16
[gate]
metric = "none"
"""
