"""MLflow was lost: runs and releases are registered in the one that there is now, and the champion stays."""

import shutil

import pytest
from mlflow import MlflowClient

from pipeline import stages
from pipeline.errors import InputError, StoreError
from pipeline.registry.audit import audit_release, verify_named_release
from pipeline.registry.champion import read_champion
from pipeline.registry.connection import absolute_uri
from pipeline.registry.promotion import champion_problems, promote, rollback
from pipeline.registry.standing import hold
from pipeline.registry.tracking import DIGEST_TAG, RUN_TAG
from pipeline.registry.versions import require_version_of
from pipeline.run import Run, run_stage
from pipeline.stages import order
from pipeline.stages.register import register
from pipeline.stages.register_again import (
    LEFT_OUT,
    register_release_again,
    register_run_again,
    require_begun,
)
from tests.pipeline.release_factory import blank_database, make_config, make_run, quiet


def crowned(config, run_id, seed=0):
    run = make_run(config, run_id, seed=seed)
    version = run_stage(run, stages.REGISTER, register).model_version
    promote(run.store, config.open_tracking(), config.gate, version, quiet(), force=True)
    return run


def elsewhere(config, name="other"):
    """The same configuration with an MLflow that knows nothing; MLflow keeps a database in mind by its name."""
    (config.base / f"{name}.db").write_bytes(blank_database())
    return make_config(config.base, mlflow={"tracking_uri": f"sqlite:///{name}.db"})


def opened(config, run_id):
    return Run.present(run_id, config, config.open_store(), quiet())


def verified(config, run_id):
    store = config.open_store()
    return audit_release(store, config.open_tracking(), verify_named_release(store, run_id))


def client_of(config):
    uri = absolute_uri(config.tracking_uri, config.base)
    return MlflowClient(uri, uri)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with two champions, r1 before r2, never touched."""
    config = make_config(tmp_path_factory.mktemp("stored"))
    crowned(config, "r1", seed=1)
    crowned(config, "r2", seed=2)
    return config


@pytest.fixture
def lost(stored, tmp_path):
    """A copy of it whose MLflow is gone and another one, whose versions 1 and 2 are a stranger's, in its place."""
    shutil.copytree(stored.base / "store", tmp_path / "store")
    config = elsewhere(make_config(tmp_path))
    stranger = make_run(config, "stranger", seed=3)
    run_stage(stranger, stages.REGISTER, register)
    client_of(config).create_model_version(
        "microrec", str(config.base), tags={RUN_TAG: "stranger", DIGEST_TAG: "other"}
    )
    return config


def test_register_again_of_the_champion_keeps_it_champion_with_its_history(lost):
    before = read_champion(lost.open_store())
    result = register_run_again(opened(lost, "r2"))
    after = read_champion(lost.open_store())
    assert (result.changed, result.champion, result.model_version, result.lost) == (True, True, "3", ["r1"])
    assert (after.run_id, after.digest, after.model_version) == ("r2", before.digest, "3")
    assert after.previous == before.previous
    assert after.history[1:] == before.history
    assert (after.history[0].action, after.history[0].model_version) == ("registered", "3")
    assert verified(lost, "r2").model == "models:/microrec@champion"
    assert opened(lost, "r2").require(stages.REGISTER).model_version == "3"


def test_register_again_of_both_champions_lets_them_be_rolled_back(lost):
    for run_id in ("r2", "r1"):
        register_run_again(opened(lost, run_id))
    store, tracking = lost.open_store(), lost.open_tracking()
    assert champion_problems(store, tracking) == []
    assert rollback(store, tracking, quiet()).run_id == "r1"
    assert verified(lost, "r1").champion


def test_register_again_keeps_the_hold(lost):
    held = hold(lost.open_store(), "sale", quiet()).held
    register_run_again(opened(lost, "r2"))
    assert read_champion(lost.open_store()).held == held


def test_register_again_twice_registers_once(lost):
    first = register_run_again(opened(lost, "r2"))
    before = lost.open_store().champion.read_bytes()
    second = register_run_again(opened(lost, "r2"))
    assert (first.changed, second.changed, second.model_version) == (True, False, first.model_version)
    assert second.mlflow_run_id == first.mlflow_run_id
    assert lost.open_store().champion.read_bytes() == before
    assert lost.open_tracking().version_numbers() == ["1", "2", "3"]


def test_register_again_where_nothing_is_lost_changes_nothing(stored):
    before = stored.open_store().champion.read_bytes()
    result = register_run_again(opened(stored, "r1"))
    assert (result.changed, result.champion, result.model_version, result.lost) == (False, False, "1", [])
    assert stored.open_store().champion.read_bytes() == before
    assert stored.open_tracking().version_numbers() == ["1", "2"]


def test_register_again_of_a_model_whose_artifacts_are_gone_registers_it_anew(stored, tmp_path):
    shutil.copytree(stored.base / "store", tmp_path / "store")
    config = make_config(tmp_path)
    config.open_tracking()
    shutil.rmtree(tmp_path / "store/mlartifacts/models")
    with pytest.raises(StoreError, match=r"release r2 is sound, but .*cannot be loaded.*register --again --release r2"):
        verified(config, "r2")
    result = register_run_again(opened(config, "r2"))
    assert (result.changed, result.champion, result.model_version) == (True, True, "3")
    assert verified(config, "r2").model_versions == ["2", "3"]


def test_register_again_of_a_release_alone_says_what_it_leaves_out(lost):
    shutil.rmtree(lost.base / "store/runs")
    result = register_release_again(opened(lost, "r2"))
    assert (result.changed, result.champion, result.left_out) == (True, True, list(LEFT_OUT))
    assert verified(lost, "r2").champion
    version = client_of(lost).get_model_version("microrec", result.model_version)
    assert version.tags["microrec.registered_again.without"].splitlines() == list(LEFT_OUT)
    logged = client_of(lost).get_run(result.mlflow_run_id)
    assert logged.data.metrics["test/recall_at_20"] == pytest.approx(0.18)
    assert logged.data.params["model.embedding_dim"] == "8"
    assert logged.info.status == "FINISHED"
    assert not (lost.base / "store/runs").exists()


def test_register_again_without_a_champion_leaves_it_so(lost):
    lost.open_store().champion.unlink()
    assert register_release_again(opened(lost, "r2")).champion is False
    assert lost.open_tracking().champion() is None


def test_register_again_of_what_is_not_there_is_refused(lost):
    with pytest.raises(InputError, match="no release 'r9'"):
        register_release_again(opened(lost, "r9"))
    with pytest.raises(InputError, match=r"no run 'r9' .*register --again --release r9"):
        require_begun(lost.open_store(), "r9")
    require_begun(lost.open_store(), "r1")


def test_promote_of_a_run_whose_number_is_a_strangers_now_is_refused(lost):
    lost.open_store().champion.unlink()
    run = opened(lost, "r1")
    done, digest = run.require(stages.REGISTER), run.require(stages.EXPORT).digest
    assert done.model_version == "1"
    with pytest.raises(InputError, match=r"version 1; on .* is release stranger .*register --again --run-id r1"):
        order._promote(run, done.model_version, digest)
    assert read_champion(lost.open_store()) is None
    with pytest.raises(InputError, match=r"version 7; on .* is no version"):
        require_version_of(lost.open_tracking(), "7", "r1", digest)


def test_promote_after_mlflow_was_lost_says_how_to_go_on(lost):
    store, tracking = lost.open_store(), lost.open_tracking()
    with pytest.raises(InputError, match="where MLflow was lost, `microrec register --again --release r2`"):
        promote(store, tracking, lost.gate, "1", quiet())
    register_run_again(opened(lost, "r2"))
    promote(store, tracking, lost.gate, "1", quiet(), force=True)
    assert read_champion(store).run_id == "stranger"


def test_results_name_no_place_outside_the_store_and_are_found_after_a_move(stored, tmp_path):
    shutil.copytree(stored.base / "store", tmp_path / "store")
    files = [*(tmp_path / "store/runs").rglob("*.json"), tmp_path / "store/champion.json"]
    assert not [file for file in files if str(stored.base) in file.read_text()]
    run = opened(make_config(tmp_path), "r1")
    assert run.require(stages.EXPORT).release == str(tmp_path / "store/releases/r1")
    assert run.require(stages.REGISTER).tracking_uri == f"sqlite:///{tmp_path}/store/mlflow.db"
