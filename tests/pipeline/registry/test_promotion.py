"""The gate, the champion and the way back, on a real registry and real small releases."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient
from upath import UPath

from pipeline.errors import ConfigError, DamagedError, GateRefusedError, InputError, StoreError
from pipeline.registry import promotion
from pipeline.registry.connection import absolute_uri
from pipeline.registry.judging import judge
from pipeline.registry.tracking import DIGEST_TAG, RUN_TAG, LoggedModel, Tracking
from pipeline.release.manifest import read_manifest
from pipeline.release.signature import read_public_keys, read_signing_key, sign
from pipeline.release.verdict import read_verdict
from pipeline.stages import order
from pipeline.storage.files import read_json, write_json
from tests.commands import microrec
from tests.pipeline.release.test_signature import write_pair
from tests.pipeline.release_factory import make_config, make_run, quiet


@pytest.fixture
def config(tmp_path):
    return make_config(tmp_path)


def add_version(config, run_id, **options):
    """A release and its registered version, without the model's files, which promotion does not look at."""
    return add_registered(config, make_run(config, run_id, **options))


def add_registered(config, run):
    run_id, tracking = run.id, config.open_tracking()
    digest = read_manifest(run.store.release(run_id)).release_digest
    logged = tracking.start_run(run_id)
    model = MlflowClient(address(config), address(config)).create_logged_model(
        logged.info.experiment_id, "microrec", logged.info.run_id
    )
    kept = LoggedModel(model.model_id, tracking.model_name)
    return tracking.register(logged, kept, {DIGEST_TAG: digest, RUN_TAG: run_id}, "")


def promote(config, version, reporter, as_of=None, **options):
    store, tracking = config.open_store(), config.open_tracking()
    return promotion.promote(store, tracking, config.gate, version, reporter, as_of, **options)


def rollback(config, reporter, reason=None, **options):
    return promotion.rollback(config.open_store(), config.open_tracking(), reporter, reason, **options)


def champion_problems(config):
    return promotion.champion_problems(config.open_store(), config.open_tracking())


def address(config):
    return absolute_uri(config.tracking_uri, config.base)


def champion(config):
    return read_json(config.open_store().champion)


def alias(config):
    return config.open_tracking().champion()


def version_tags(config, version):
    return MlflowClient(address(config), address(config)).get_model_version("microrec", version).tags


def test_promote_first_release_passes_and_file_and_alias_agree(config):
    version = add_version(config, "r1")
    result = promote(config, version, quiet())
    written = champion(config)
    digest = read_manifest(config.open_store().release("r1")).release_digest
    assert (
        written.items()
        >= {
            "release": "releases/r1",
            "run_id": "r1",
            "digest": digest,
            "model_name": "microrec",
            "model_version": version,
            "metric": "recall@20",
            "value": 0.2,
            "previous": None,
        }.items()
    )
    assert written["promoted_at"].startswith("20")
    assert (result.changed, alias(config), champion_problems(config)) == (True, version, [])


def test_promote_worse_by_no_more_than_luck_passes_and_remembers_the_one_before(config):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    promote(config, add_version(config, "r2", recall=0.175), quiet())
    assert (champion(config)["run_id"], champion(config)["previous"]["run_id"], alias(config)) == ("r2", "r1", "2")


def test_promote_worse_than_allowed_is_refused_and_changes_nothing(config):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    before = champion(config)
    expected = r"release r2 is refused, against champion r1: held out today: -50.0 % .*recall@20 0\.1000, r1 0\.2000"
    with pytest.raises(GateRefusedError, match=expected):
        promote(config, add_version(config, "r2", recall=0.1), quiet())
    assert (champion(config), alias(config)) == (before, "1")
    assert GateRefusedError.exit_status == 3


def test_promote_figures_that_a_run_recorded_are_not_believed(config):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    boasts = add_version(config, "r2", recall=0.1)
    manifest = config.open_store().release("r2") / "manifest.json"
    document = read_json(manifest)
    document["metrics"]["validation"] = {"recall@20": 0.9}
    write_json(manifest, document)
    with pytest.raises(GateRefusedError, match="r2 is refused"):
        promote(config, boasts, quiet())


def test_promote_the_champion_again_does_nothing(config):
    version = add_version(config, "r1")
    promote(config, version, quiet())
    before = champion(config)
    result = promote(config, version, quiet())
    assert (result.changed, champion(config)) == (False, before)


@pytest.mark.parametrize(("first", "second"), [(0.2, None), (None, 0.2)])
def test_promote_where_one_run_holds_nothing_out_passes_unjudged(config, first, second):
    promote(config, add_version(config, "r1", recall=first), quiet())
    assert promote(config, add_version(config, "r2", recall=second), quiet()).run_id == "r2"
    assert "held out today" not in version_tags(config, "2")["microrec.gate_figures"]


def test_promote_gate_none_lets_everything_pass(config, tmp_path):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    version = add_version(config, "r2", recall=None)
    result = promote(make_config(tmp_path, gate={"metric": "none"}), version, quiet())
    assert (result.run_id, result.metric, result.value) == ("r2", None, None)


def test_gate_config_metric_that_cannot_be_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match=r"gate.*metric is 'recal@20'"):
        make_config(tmp_path, gate={"metric": "recal@20"})


def test_gate_config_impossible_share_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"gate.*max_regression is 2"):
        make_config(tmp_path, gate={"max_regression": 2})


def test_promote_damaged_release_is_refused(config):
    version = add_version(config, "r1")
    part = config.open_store().release("r1") / "user_vectors/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=r"user_vectors/part-00000\.parquet"):
        promote(config, version, quiet())
    assert not config.open_store().champion.exists()
    assert alias(config) is None


@pytest.mark.parametrize("version", ["7", "latest", "-1", "1.5", ""])
def test_promote_unknown_version_names_the_known(config, version):
    add_version(config, "r1")
    with pytest.raises(InputError, match=r"has no version '.*' on sqlite:.*; there are: 1$"):
        promote(config, version, quiet())


def test_promote_version_of_somebody_else_is_refused(config):
    client = MlflowClient(address(config), address(config))
    client.create_registered_model("microrec")
    client.create_model_version("microrec", source="s3://models/theirs")
    with pytest.raises(InputError, match="carries no release tags"):
        promote(config, "1", quiet())


def test_promote_release_of_another_store_is_refused(config):
    version = add_version(config, "r1", seed=0)
    shutil.rmtree(config.open_store().root / "releases")
    shutil.rmtree(config.open_store().root / "runs")
    make_run(config, "r1", seed=1)
    with pytest.raises(InputError, match=r"give the store\.root"):
        promote(config, version, quiet())


@pytest.mark.parametrize("again", ["same version", "next version", "rollback", "refused"])
def test_killed_between_file_and_alias_is_mended_by_the_next_call(config, monkeypatch, again):
    promote(config, add_version(config, "r1"), quiet())
    second = add_version(config, "r2")

    def killed(self, version):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Tracking, "set_champion", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(config, second, quiet())
    assert (champion(config)["model_version"], alias(config)) == ("2", "1")
    assert champion_problems(config) == [f"{config.open_store().champion} names version 2, the alias names 1"]
    if again == "same version":
        assert not promote(config, second, quiet()).changed
    elif again == "next version":
        promote(config, add_version(config, "r3"), quiet())
    elif again == "rollback":
        rollback(config, quiet())
    else:
        with pytest.raises(GateRefusedError):
            promote(config, add_version(config, "r3", recall=0.01), quiet())
    expected = {"same version": "2", "next version": "3", "rollback": "1", "refused": "2"}[again]
    assert (champion(config)["model_version"], alias(config), champion_problems(config)) == (expected, expected, [])


def test_rollback_goes_back_step_by_step_until_the_first(config):
    for run_id in ("r1", "r2", "r3"):
        promote(config, add_version(config, run_id), quiet())
    for expected in ("r2", "r1"):
        result = rollback(config, quiet())
        assert (result.run_id, champion(config)["run_id"]) == (expected, expected)
        assert alias(config) == champion(config)["model_version"]
    with pytest.raises(InputError, match="version 1 has no champion before it"):
        rollback(config, quiet())


def test_rollback_without_champion_says_so(config):
    with pytest.raises(InputError, match="there is no champion"):
        rollback(config, quiet())


def test_rollback_to_a_release_that_is_gone_is_refused(config):
    promote(config, add_version(config, "r1"), quiet())
    promote(config, add_version(config, "r2"), quiet())
    shutil.rmtree(config.open_store().release("r1"))
    with pytest.raises(StoreError, match=r"there is no release at .*r1"):
        rollback(config, quiet())
    assert (champion(config)["run_id"], alias(config)) == ("r2", "2")


def test_promote_when_the_champions_release_is_gone_says_how_to_begin_anew(config):
    promote(config, add_version(config, "r1"), quiet())
    shutil.rmtree(config.open_store().release("r1"))
    with pytest.raises(StoreError, match=r"release .*r1 is gone.*delete .*champion\.json"):
        promote(config, add_version(config, "r2"), quiet())


@pytest.mark.parametrize("change", [{"tracking_uri": "sqlite:///other.db"}, {"model_name": "another"}])
def test_champion_of_another_registry_is_a_clear_error(config, tmp_path, change):
    promote(config, add_version(config, "r1"), quiet())
    other = make_config(tmp_path, mlflow=change)
    version = add_version(other, "r2")
    if "tracking_uri" in change:  # version 1 exists there too, but is another release
        with pytest.raises(
            InputError, match=r"champion\.json says that microrec version 1 is release r1 .* says r2 with .*begin anew"
        ):
            promote(other, add_version(other, "r3"), quiet())
    else:
        with pytest.raises(InputError, match=r"names model microrec, mlflow\.model_name is another.*begin anew"):
            promote(other, version, quiet())


def test_champion_file_damaged_or_foreign_is_a_clear_error(config):
    version = add_version(config, "r1")
    UPath(config.open_store().champion).write_text('{"run_id": "r1"}')
    with pytest.raises(StoreError, match=r"champion\.json lacks \['digest', .*delete it"):
        promote(config, version, quiet())


def test_promote_many_keeps_a_bounded_chain(config):
    for run_id in ("r1", "r2", "r3", "r4"):
        promote(config, add_version(config, run_id), quiet(), kept_before=2)
    chain, record = [], champion(config)
    while record:
        chain.append(record["run_id"])
        record = record["previous"]
    assert chain == ["r4", "r3", "r2"]


@pytest.fixture(params=["local", "s3"])
def anywhere(request, tmp_path):
    """Configurations with the store on disk, and in an object store."""
    if request.param == "local":
        return {}
    root = f"s3://{request.getfixturevalue('s3_bucket')}/store"
    return {"store": {"root": root}, "mlflow": {"tracking_uri": f"sqlite:///{tmp_path}/store/mlflow.db"}}


def chain(config):
    document, names = champion(config), []
    while document:
        names.append(document["run_id"])
        document = document["previous"]
    return names


def test_promote_overtaken_between_gate_and_write_is_judged_against_the_new_champion(anywhere, tmp_path, monkeypatch):
    config = make_config(tmp_path, **anywhere)
    first, second, third = (add_version(config, f"r{n}", recall=recall) for n, recall in enumerate((0.2, 0.3, 0.2)))
    promote(config, first, quiet())
    require = promotion.require_passed

    def overtaken(verdict):
        require(verdict)
        monkeypatch.setattr(promotion, "require_passed", require)
        promote(config, second, quiet())

    monkeypatch.setattr(promotion, "require_passed", overtaken)
    with pytest.raises(GateRefusedError, match=r"against champion r1 .*r1 0\.3000"):
        promote(config, third, quiet())
    assert (chain(config), alias(config)) == (["r1", "r0"], second)


PROMOTE = """
import json, sys, time
from pathlib import Path
from pipeline.registry.promotion import promote
from tests.pipeline.release_factory import make_config, quiet
base, version, sections = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
config = make_config(base, **sections)
store, tracking = config.open_store(), config.open_tracking()
(base / f"ready-{version}").touch()
while not (base / "go").exists():
    time.sleep(0.001)
promote(store, tracking, config.gate, version, quiet())
"""


def test_promote_two_processes_at_once_lose_none(s3_bucket, tmp_path):
    """In an object store; storage/test_files.py has two processes swap a local file."""
    tracking_uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    sections = {"store": {"root": f"s3://{s3_bucket}/store"}, "mlflow": {"tracking_uri": tracking_uri}}
    config = make_config(tmp_path, **sections)
    first, *others = (add_version(config, f"r{number}") for number in range(3))
    promote(config, first, quiet())
    root = Path(__file__).parents[3]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(tmp_path), version, json.dumps(sections)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        for version in others
    ]
    while len(list(tmp_path.glob("ready-*"))) < len(others):
        assert all(process.poll() is None for process in started)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    assert sorted(chain(config)) == ["r0", "r1", "r2"]
    assert (alias(config), champion_problems(config)) == (champion(config)["model_version"], [])


MONDAY, TUESDAY = (datetime(2026, 11, day, 2, tzinfo=UTC) for day in (23, 24))


def test_promote_for_an_earlier_moment_leaves_the_champion_of_a_later_one(config):
    version = add_version(config, "tuesday", recall=0.2)
    promote(config, version, quiet(), TUESDAY)
    tags = MlflowClient(address(config), address(config)).get_model_version("microrec", version).tags
    assert tags["microrec.as_of"] == TUESDAY.isoformat()
    result = promote(config, add_version(config, "monday", recall=0.3), quiet(), MONDAY)
    assert (result.changed, result.run_id, champion(config)["run_id"]) == (False, "tuesday", "tuesday")
    assert promote(config, add_version(config, "again", recall=0.2), quiet(), TUESDAY).run_id == "again"


def test_promote_by_hand_without_a_moment_replaces_any_champion(config):
    promote(config, add_version(config, "tuesday"), quiet(), TUESDAY)
    assert promote(config, add_version(config, "mine"), quiet()).run_id == "mine"


def with_verdict(config, run_id, **options):
    """A version whose release carries what the gate said of its run, as `microrec run` writes it."""
    run = make_run(config, run_id, judged=True, **options)
    return read_verdict(run.path), add_registered(config, run)


def test_promote_recorded_verdict_that_holds_is_taken_without_judging(config, monkeypatch):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    good, bad = with_verdict(config, "good", recall=0.25), with_verdict(config, "bad", recall=0.1)
    assert (good[0].verdict, bad[0].verdict) == ("passed", "refused")
    monkeypatch.setattr(judge, "judge", None)
    with pytest.raises(GateRefusedError, match="release bad is refused, against champion r1"):
        promote(config, bad[1], quiet())
    assert promote(config, good[1], quiet()).run_id == "good"


@pytest.mark.parametrize("change", ["champion", "settings"])
def test_promote_recorded_verdict_that_does_not_hold_is_judged_anew(config, tmp_path, change):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    verdict, version = with_verdict(config, "r2", recall=0.2)
    assert verdict.verdict == "passed"
    if change == "champion":
        promote(config, add_version(config, "r3", recall=0.6), quiet())
    else:
        config = make_config(tmp_path, gate={"max_regression": 0.0, "previous_champions": 0})
    if change == "champion":
        with pytest.raises(GateRefusedError, match="against champion r3"):
            promote(config, version, quiet())
    else:
        promote(config, version, quiet())
    assert "held out today" in version_tags(config, version)["microrec.gate_figures"]


@pytest.mark.parametrize("gone", [["r2"], ["r1"], ["r1", "r2"]])
def test_promote_whose_runs_folders_are_gone_is_judged_on_what_there_is(config, gone):
    promote(config, add_version(config, "r1", recall=0.2), quiet())
    version = add_version(config, "r2", recall=0.1)
    for run_id in gone:
        shutil.rmtree(config.open_store().run(run_id))
    expected = {1: "held out (today|then): -50.0 %", 2: "no held-out interaction in common.*--force"}[len(gone)]
    with pytest.raises(GateRefusedError, match=expected):
        promote(config, version, quiet())


def test_promote_three_steps_that_each_pass_do_not_add_up(config):
    """Each step is within luck of the one before; all three together are not."""
    for run_id, recall in (("r1", 0.5), ("r2", 0.45), ("r3", 0.425)):
        promote(config, add_version(config, run_id, recall=recall), quiet())
    with pytest.raises(GateRefusedError, match=r"against champion r3 and 2 before it: best of the last champions: -25"):
        promote(config, add_version(config, "r4", recall=0.375), quiet())
    alone = make_config(config.base, gate={"previous_champions": 0})
    assert promote(alone, "4", quiet()).run_id == "r4"


@pytest.fixture
def keys(tmp_path):
    """By name, a private key and the list of its public one."""
    made = {name: write_pair(tmp_path, name) for name in ("ours", "theirs")}
    return {name: (read_signing_key(private), read_public_keys([public])) for name, (private, public) in made.items()}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("signed_by", "problem"), [(None, "is not signed"), ("theirs", "by a trusted key"), ("ours", None)]
)
def test_promote_where_a_public_key_is_configured_takes_only_what_it_signed(config, keys, signed_by, problem, force):
    version, (_, trusted) = add_version(config, "r1"), keys["ours"]
    if signed_by:
        sign(config.open_store().release("r1"), keys[signed_by][0])
    if problem is None:
        assert promote(config, version, quiet(), keys=trusted, force=force).run_id == "r1"
        return
    with pytest.raises(DamagedError, match=problem) as refused:
        promote(config, version, quiet(), keys=trusted, force=force)
    assert refused.value.exit_status == 2
    assert not config.open_store().champion.exists()
    assert config.open_tracking().champion() is None


def test_promote_where_no_public_key_is_configured_asks_for_no_signature(config, keys):
    version = add_version(config, "r1")
    sign(config.open_store().release("r1"), keys["theirs"][0])
    assert promote(config, version, quiet()).run_id == "r1"
    assert promote(config, add_version(config, "r2"), quiet()).run_id == "r2"


def test_rollback_where_a_public_key_is_configured_takes_only_what_it_signed(config, keys):
    for run_id in ("r1", "r2"):
        promote(config, add_version(config, run_id), quiet())
    private, trusted = keys["ours"]
    with pytest.raises(DamagedError, match="r1 is not signed"):
        rollback(config, quiet(), keys=trusted)
    sign(config.open_store().release("r1"), private)
    assert rollback(config, quiet(), keys=trusted).run_id == "r1"


@pytest.mark.parametrize(("name", "status"), [("ours", 0), ("theirs", 2)])
def test_promote_and_rollback_commands_ask_for_the_keys_that_are_configured(config, tmp_path, keys, name, status):
    for run_id in ("r1", "r2"):
        version = add_version(config, run_id)
        sign(config.open_store().release(run_id), keys["ours"][0])
        promote(config, version, quiet())
    version = add_version(config, "r3")
    sign(config.open_store().release("r3"), keys["ours"][0])
    (tmp_path / "microrec.toml").write_text(
        "[catalogue]\nitems = 'items.parquet'\ninteractions = ['interactions.parquet']\n[model]\nembedding_dim = 8\n"
        f"[store]\nroot = 'store'\n[export]\npublic_keys = ['{name}.pub']\n"
    )
    for command in (["promote", version, "--force"], ["rollback"]):
        done = microrec(*command, "-c", tmp_path / "microrec.toml")
        assert done.returncode == status, done.stderr


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_run_asks_for_the_keys_that_are_configured(tmp_path, keys, name):
    config = make_config(tmp_path, export={"public_keys": [f"{name}.pub"], "signing_key": f"{name}.pem"})
    run = make_run(config, "r1")
    version = add_registered(config, run)
    sign(run.store.release("r1"), keys["ours"][0])
    digest = read_manifest(run.store.release("r1")).release_digest
    if name == "ours":
        assert order._promote(run, version, digest) == (None, None)
        return
    with pytest.raises(DamagedError, match="by a trusted key"):
        order._promote(run, version, digest)
