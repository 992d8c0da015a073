"""Nothing damaged is used: what a stage, a promotion or a command reads is what was written, or it is named."""

import dataclasses
import json
import shutil
import subprocess

import pytest

from pipeline import stages
from pipeline.dataset.dataset import load_dataset
from pipeline.errors import DamagedError, StoreError
from pipeline.opening import open_run
from pipeline.registry.audit import audit_release, verify_named_release
from pipeline.registry.champion import champion_manifest, choose_release, read_champion
from pipeline.registry.promotion import promote, rollback
from pipeline.release.manifest import MANIFEST
from pipeline.release.sound import sound_table
from pipeline.run import run_stage
from pipeline.serving.champion import load_champion
from pipeline.stages.gate import trained
from pipeline.stages.history import read_history
from pipeline.stages.order import do_stage
from pipeline.stages.register import register
from pipeline.stages.register_again import register_run_again
from pipeline.storage.files import local_path, read_json, write_json
from tests.pipeline.release_factory import make_config, make_run, quiet
from tests.pipeline.tiny import make_tiny

CHANGES = {
    "flipped": lambda file: file.write_bytes(bytes([*(whole := file.read_bytes())[:-9], whole[-9] ^ 1, *whole[-8:]])),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "emptied": lambda file: file.write_bytes(b""),
    "gone": lambda file: file.unlink(),
}


def rewrite(file, **values):
    """Write other values into a JSON document, as somebody would who knows of the seal."""
    write_json(file, {**read_json(file), **values})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A champion, `r1`, the one before it, `r0`, and a run that trained on a text modality, `tiny`."""
    base = tmp_path_factory.mktemp("finished")
    config = make_config(base)
    for run_id in ("r0", "r1"):
        run = make_run(config, run_id, seed=0)
        version = run_stage(run, stages.REGISTER, register).model_version
        promote(run.store, config.open_tracking(), config.gate, version, quiet(), force=True)
    (base / "tiny").mkdir()
    night = open_run(make_tiny(base / "tiny"), "r1", quiet())
    for stage in (stages.VALIDATE, stages.EXTRACT, stages.PREPARE, stages.TRAIN, stages.EVALUATE):
        do_stage(night, stage)
    return base


@pytest.fixture
def world(finished, tmp_path):
    """A copy of it, which may be damaged."""
    shutil.copytree(finished, tmp_path / "world")
    return tmp_path / "world"


@pytest.fixture
def run(world):
    return open_run(make_config(world), "r1", quiet())


@pytest.fixture
def night(world):
    return open_run(make_tiny(world / "tiny"), "r1", quiet())


READERS = {
    "prepare/items.parquet": lambda night: load_dataset(night.folder(stages.PREPARE)),
    "prepare/users.parquet": lambda night: load_dataset(night.folder(stages.PREPARE)),
    "prepare/interactions.parquet": lambda night: load_dataset(night.folder(stages.PREPARE)),
    "prepare/features-text.safetensors": lambda night: load_dataset(night.folder(stages.PREPARE)),
    "prepare/result.json": lambda night: night.require(stages.PREPARE),
    "train/vectors.safetensors": trained,
    "train/history.json": read_history,
    "evaluate/result.json": lambda night: night.require(stages.EVALUATE),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", READERS)
def test_stage_whose_file_is_damaged_is_named_with_the_mend(night, name, change):
    READERS[name](night)
    CHANGES[change](local_path(night.path / name))
    with pytest.raises(DamagedError) as error:
        READERS[name](night)
    assert str(night.path / name) in str(error.value)
    assert f"delete {(night.path / name).parent}" in str(error.value)
    assert error.value.exit_status == 2


def test_stage_modality_that_was_promised_by_an_earlier_version_is_missed(night):
    """It kept no digests; the encoders in its result are what it promised."""
    folder = night.folder(stages.PREPARE)
    document = read_json(folder / "result.json")
    write_json(folder / "result.json", {key: value for key, value in document.items() if key != "files"})
    assert set(load_dataset(folder).features) == {"text"}
    (folder / "features-text.safetensors").unlink()
    with pytest.raises(DamagedError, match=r"features-text\.safetensors is missing"):
        load_dataset(folder)


def test_stage_digit_of_a_metric_that_is_changed_is_not_published(night):
    file = local_path(night.folder(stages.EVALUATE) / "result.json")
    document = json.loads(file.read_text())
    document["metrics"]["test"] = {"recall@20": 1.0}
    file.write_text(json.dumps(document))
    with pytest.raises(DamagedError, match="does not fit its own seal"):
        do_stage(night, stages.EXPORT)
    assert not night.store.release("r1").exists()


def test_run_whose_release_is_gone_is_not_done_before(night):
    digest = do_stage(night, stages.EXPORT).digest
    version = do_stage(night, stages.REGISTER).model_version
    shutil.rmtree(local_path(night.store.release("r1")))
    again = do_stage(night, stages.EXPORT)
    assert again.digest == digest
    assert night.require(stages.EXPORT) == dataclasses.replace(again, seconds=night.require(stages.EXPORT).seconds)
    assert verify_named_release(night.store, "r1").digest == digest
    assert do_stage(night, stages.REGISTER).model_version == version
    tracking = night.config.open_tracking()
    assert audit_release(night.store, tracking, verify_named_release(night.store, "r1")).model_versions == [version]
    assert tracking.version(version).manifest_sha256 == again.manifest_sha256


def test_run_whose_configuration_is_lost_takes_no_other(night):
    night.record.unlink()
    with pytest.raises(DamagedError, match=r"config\.json is missing although run r1 has begun"):
        open_run(make_tiny(night.config.base, model={"embedding_dim": 4}), "r1", quiet())
    assert not night.record.exists()


def test_register_of_a_release_that_does_not_verify_registers_nothing(world):
    run = make_run(make_config(world), "r2", seed=3)
    CHANGES["flipped"](local_path(run.store.release("r2") / "report.html"))
    with pytest.raises(DamagedError, match=r"report\.html has another sha256"):
        run_stage(run, stages.REGISTER, register)
    assert run.config.open_tracking().versions_of("r2") == []


def test_promote_of_a_manifest_that_was_altered_is_refused(world):
    """A recall of 1.0, written by somebody who knows of the seal, is not believed."""
    run = make_run(make_config(world), "r2", seed=0)
    version, tracking = run_stage(run, stages.REGISTER, register).model_version, run.config.open_tracking()
    rewrite(run.store.release("r2") / MANIFEST, metrics={"validation": {"recall@20": 1.0}})
    before = run.store.champion.read_bytes()
    with pytest.raises(DamagedError, match=r"manifest\.json is not the one that was registered"):
        promote(run.store, tracking, run.config.gate, version, quiet(), force=True)
    assert run.store.champion.read_bytes() == before


def test_manifest_of_the_champion_that_was_altered_is_believed_by_nobody(run):
    rewrite(run.store.release("r1") / MANIFEST, counts={"items": 1})
    tracking = run.config.open_tracking()
    for ask in (
        lambda: champion_manifest(run.store, read_champion(run.store)),
        lambda: choose_release(run.store, None),
        lambda: load_champion(str(run.store.root), run.config.base / "cache"),
        lambda: audit_release(run.store, tracking, verify_named_release(run.store, "r1")),
    ):
        with pytest.raises(StoreError, match=r"manifest"):
            ask()


def test_rollback_to_a_manifest_that_was_altered_is_refused(run):
    rewrite(run.store.release("r0") / MANIFEST, embedding_dim=8, counts={})
    with pytest.raises(DamagedError, match=r"r0/manifest\.json is not the one that was registered"):
        rollback(run.store, run.config.open_tracking(), quiet())
    assert read_champion(run.store).run_id == "r1"


def test_champion_of_an_earlier_version_without_the_manifests_sha256_goes_on(run):
    document = read_json(run.store.champion)
    del document["manifest_sha256"], document["previous"]["manifest_sha256"]
    run.store.champion.write_text(json.dumps(document))
    assert choose_release(run.store, None) == run.store.release("r1")
    assert rollback(run.store, run.config.open_tracking(), quiet()).run_id == "r0"


def test_verify_champion_whose_fields_are_altered_is_named(run):
    tracking, checked = run.config.open_tracking(), verify_named_release(run.store, "r1")
    assert audit_release(run.store, tracking, checked).champion
    for field in ("release", "manifest_sha256"):
        whole = run.store.champion.read_bytes()
        rewrite(run.store.champion, **{field: "releases/r0"})
        with pytest.raises(DamagedError, match=rf"champion\.json names {field} (releases/)?r0"):
            audit_release(run.store, tracking, checked)
        run.store.champion.write_bytes(whole)
    run.store.champion.write_text(run.store.champion.read_text().replace('"value": 0.', '"value": 1.'))
    run.store.champion.write_text(run.store.champion.read_text().replace('"value": null', '"value": 1.0'))
    with pytest.raises(DamagedError, match="does not fit its own seal; restore it"):
        audit_release(run.store, tracking, checked)


def test_verify_copy_in_mlflow_that_is_altered_is_named_and_registered_anew(run):
    tracking, checked = run.config.open_tracking(), verify_named_release(run.store, "r1")
    with tracking.files_of("@champion") as folder:
        file = next(folder.rglob("seen_item_P.npy"))  # the one question that is asked does not touch it
    CHANGES["flipped"](file)
    with pytest.raises(DamagedError, match=r"seen_item_P\.npy are not as they were registered; .*register --again"):
        audit_release(run.store, tracking, checked)
    assert register_run_again(run).changed
    assert audit_release(run.store, tracking, checked).champion


@pytest.mark.parametrize("left", [b"", b"flavors:\n  other: {}\n", b"\t{", None])
def test_verify_model_whose_description_is_damaged_is_told_by_its_name(run, left):
    tracking, checked = run.config.open_tracking(), verify_named_release(run.store, "r1")
    with tracking.files_of("@champion") as folder:
        file = folder / "MLmodel"
    file.unlink() if left is None else file.write_bytes(left)
    with pytest.raises(DamagedError, match=r"is damaged: MLmodel are not as they were registered; .*register --again"):
        audit_release(run.store, tracking, checked)


@pytest.mark.parametrize("change", CHANGES)
def test_sound_table_of_a_damaged_part_names_it(run, change):
    release = run.store.release("r1")
    sound_table(release, "item_embeddings")
    CHANGES[change](local_path(release / "item_embeddings/part-00000.parquet"))
    with pytest.raises(DamagedError, match=r"item_embeddings/part-00000\.parquet is .*restore the release"):
        sound_table(release, "item_embeddings")


def test_verify_works_on_a_read_only_store(world):
    config = world / "microrec.toml"
    config.write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n[store]\nroot = "store"\n'
        "[model]\nembedding_dim = 8\n"
    )
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    from bench.faults.places import MOUNT
    from bench.nights.night import MICROREC

    command = [*MICROREC, "verify", "r1", "-c", str(config), "--json"]
    mounted = ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(world / "store"), *command]
    done = subprocess.run(mounted, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["champion"]
