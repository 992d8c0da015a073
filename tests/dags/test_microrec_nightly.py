import ast
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((ROOT / "dags").glob("*.py"))
MICROREC = os.environ.get("MICROREC_BIN", str(ROOT / ".venv" / "bin" / "microrec"))


@pytest.fixture(scope="module")
def nightly(airflow_database):
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "dags"))
    assert bag.import_errors == {}
    return bag.dags["microrec_nightly"]


@pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.name)
def test_dag_files_import_the_sdk_and_the_standard_library_only(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    ours = {other.stem for other in DAG_FILES}
    foreign = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names | ours}
    operators = {"airflow.providers.standard.operators.hitl", "airflow.providers.standard.operators.trigger_dagrun"}
    scheduler_side = {"airflow.models", "sqlalchemy"} if file.stem == "microrec_deadline" else set()
    assert {name for name in foreign if not name.startswith("airflow.sdk")} <= operators | scheduler_side


def test_nightly_every_task_has_owner_retries_and_timeout(nightly):
    for task in nightly.tasks:
        assert task.owner == "microrec", task.task_id
        assert task.retries >= 1, task.task_id
        assert task.execution_timeout is not None, task.task_id
        assert task.execution_timeout <= timedelta(hours=12), task.task_id


def test_nightly_training_is_on_the_gpu_queue_and_extraction_is_mapped(nightly):
    assert {task.task_id for task in nightly.tasks if task.queue == "gpu"} == {"train"}
    assert nightly.get_task("extract_image").is_mapped
    assert nightly.get_task("extract_text").is_mapped


def test_nightly_pools_are_the_ones_that_the_stack_makes(nightly):
    made = json.loads((ROOT / "deploy" / "pools.json").read_text())
    assert {task.pool for task in nightly.tasks} == {"default_pool", *made}
    assert nightly.get_task("train").pool == "microrec_gpu"
    assert made["microrec_gpu"]["slots"] == made["microrec_champion"]["slots"] == 1


@pytest.mark.parametrize(
    ("queue", "pool"), [(None, "microrec_encode"), ("default", "microrec_encode"), ("gpu", "microrec_gpu")]
)
def test_nightly_image_shards_are_in_the_pool_of_their_queue(monkeypatch, queue, pool):
    from microrec_nightly import placed
    from microrec_settings import AirflowSettings

    monkeypatch.delenv("MICROREC_IMAGE_QUEUE", raising=False)
    here = placed(AirflowSettings(image_queue=queue))["extract_image"]
    assert (here["queue"], here["pool"]) == (queue or "default", pool)
    monkeypatch.setenv("MICROREC_IMAGE_QUEUE", queue or "default")
    assert placed(AirflowSettings())["extract_image"] == here


def test_nightly_starts_by_time_or_by_asset_and_announces_release_and_champion(nightly):
    assert nightly.timetable.timetable.expression == "0 2 * * *"
    inputs = {asset.name for asset in nightly.timetable.asset_condition.objects}
    assert inputs == {"microrec_catalogue", "microrec_interactions"}
    assert type(nightly.timetable.asset_condition).__name__ == "AssetAll"
    outlets = {task.task_id: [outlet.name for outlet in task.outlets] for task in nightly.tasks if task.outlets}
    assert outlets == {"export": ["microrec_release"], "promote": ["microrec_champion"]}


def test_nightly_has_a_deadline_callbacks_and_documentation(nightly):
    assert nightly.deadline
    assert nightly.has_on_failure_callback
    assert nightly.has_on_success_callback
    assert nightly.doc_md
    assert nightly.tags == {"microrec"}
    expected = {"config", "shards", "device", "sample", "full_refresh", "accept_change", "promote", "set"}
    assert set(nightly.params) == expected
    assert all(nightly.params.get_param(name).description for name in nightly.params)


def test_nightly_stages_stand_in_order(nightly):
    ends = ["prepare", "changes", "train", "evaluate", "gate", "export", "register", "promote", "summarise"]
    for kind in ("image", "text"):
        for before, after in pairwise(["check_input", f"plan_shards.{kind}", f"extract_{kind}", *ends]):
            assert before in nightly.get_task(after).get_flat_relative_ids(upstream=True)


def test_dags_package_imports_from_the_repository_root():
    subprocess.run([sys.executable, "-c", "import dags.microrec_nightly"], cwd=ROOT, check=True, timeout=120)


def dag_run(run_id, logical_date=None):
    return SimpleNamespace(run_id=run_id, logical_date=logical_date, run_after=datetime(2026, 11, 25, tzinfo=UTC))


def test_run_id_of_a_date_is_the_same_whatever_started_it():
    from microrec_run import run_id_of

    moment = datetime(2026, 11, 24, 3, tzinfo=timezone(timedelta(hours=1)))
    names = {run_id_of(dag_run(f"{kind}__x", moment)) for kind in ("scheduled", "backfill", "manual")}
    assert names == {"night-20261124T020000"}
    assert run_id_of(dag_run("manual__x", moment.replace(microsecond=5))) == "night-20261124T020000-000005"


@pytest.mark.parametrize("dag_run_id", ["scheduled__2026-11-24T02:00:00+00:00", "manual__/../x", "/", "ü", "x" * 250])
def test_run_id_of_any_dag_run_is_a_plain_name(dag_run_id):
    from microrec_run import run_id_of

    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", run_id_of(dag_run(dag_run_id)))


def test_run_id_of_different_dag_runs_is_different():
    from microrec_run import run_id_of

    assert len({run_id_of(dag_run(name)) for name in ("manual__a b", "manual__a-b", "manual__a/b", "/", "//", "")}) == 6


CHECKS = {"verdict": "ok", "champion": None, "note": "there is no champion", "reasons": []}
NIGHT = {
    "validate": [
        0,
        {
            "modalities": {},
            "checks": {
                "verdict": "ok",
                "champion": None,
                "note": "first",
                "reasons": [],
                "rows": [{"name": "items", "margin": 0.1}, {"name": "last timestamp", "margin": None}],
            },
            "warnings": [],
        },
    ],
    "prepare": [0, {"counts": {"users": 6}}],
    "changes": [0, {"champion": "night-0", "digest": "d0", "changes": ["items.parquet"]}],
    "train": [0, {"epochs": 5, "best_epoch": 4, "device": "cpu"}],
    "evaluate": [0, {"metrics": {"validation": {"recall@20": 0.25, "ndcg@20": 0.1}, "test": None}}],
    "gate": [
        0,
        {
            "verdict": "passed",
            "champion": "night-0",
            "metric": "recall@20",
            "value": 0.25,
            "rows": [{"name": "held out today", "margin": 0.03}, {"name": "detectable fall", "margin": None}],
        },
    ],
    "export": [
        0,
        {
            "release": "s3://store/releases/x",
            "digest": "d1",
            "counts": {"user_vectors": 6},
            "drift": {"all": {"cosine_median": 0.9, "neighbours_kept": None, "recommendations_kept": None}},
        },
    ],
    "register": [0, {"run_id": "m1", "model_name": "microrec", "model_version": "7"}],
}
HELD = {"reason": "half a catalogue", "since": "2026-11-24T02:00:00.123456+00:00"}


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_while_the_champion_is_held_publishes_and_does_not_promote_and_says_so(
    fake_microrec, run_dag, events_since
):
    fake_microrec.answers({**NIGHT, "promote": [0, {"run_id": "night-0", "held": HELD, "changed": False}]})
    run, states = run_dag("microrec_nightly", run_conf={"config": "c.toml", "device": "cpu"})
    assert (str(run.state), states["register"], states["promote"]) == ("success", "success", "skipped")
    assert [event["trial"] for event in events_since("microrec_release")] == [False]
    assert events_since("microrec_champion") == []
    note = next(task for task in run.get_task_instances() if task.task_id == "summarise").xcom_pull("summarise")
    assert "- gate passed, against `night-0`\n" in note
    assert "not promoted: the champion night-0 is held since 2026-11-24T02:00:00: half a catalogue" in note


@pytest.fixture
def sent(monkeypatch):
    """The metrics that were sent, by name."""
    import microrec_metrics

    metrics = {}
    monkeypatch.setattr(microrec_metrics.stats, "gauge", metrics.__setitem__)
    return metrics


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_sends_margins_drift_and_the_age_of_the_champion(fake_microrec, run_dag, sent):
    champion = {"run_id": "night-0", "held": HELD, "as_of": None, "promoted_at": "2026-11-24T02:00:00+00:00"}
    fake_microrec.answers({**NIGHT, "promote": [0, champion], "champion": [0, champion]})
    run_dag("microrec_nightly", run_conf={"config": "c.toml", "device": "cpu"})
    named = {name.removeprefix("microrec_nightly."): value for name, value in sent.items()}
    assert {name: value for name, value in named.items() if "margin" in name or name.startswith("drift")} == {
        "checks.least_margin": 0.1,
        "checks.margin.items": 0.1,
        "gate.least_margin": 0.03,
        "gate.margin.held_out_today": 0.03,
        "drift.all.cosine_median": 0.9,
    }
    since = datetime(2026, 11, 24, 2, tzinfo=UTC)
    assert named["champion.age"] == pytest.approx((datetime.now(UTC) - since).total_seconds(), abs=300)


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_that_the_gate_refused_sends_by_how_much_and_a_store_that_is_silent_ends_no_summary(
    tmp_path, run_dag, sent, fake_microrec, monkeypatch
):
    fake_microrec.answers({**NIGHT, "champion": [1, "microrec: the store does not answer"]})
    script, verdict = tmp_path / "refusing", {"rows": [{"name": "held out today", "margin": -0.02}]}
    script.write_text(
        f'#!/bin/sh\nif [ "$1" != gate ]; then exec {os.environ["MICROREC_BIN"]} "$@"; fi\n'
        f"echo '{json.dumps(verdict)}'\necho 'microrec: refused' >&2\nexit 3\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("MICROREC_BIN", str(script))
    _, states = run_dag("microrec_nightly", run_conf={"config": "c.toml", "device": "cpu"})
    assert (states["gate"], states["summarise"]) == ("failed", "success")
    assert sent["microrec_nightly.gate.least_margin"] == -0.02
    assert "microrec_nightly.champion.age" not in sent


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
@pytest.mark.parametrize("trial", [{"sample": 0.5}, {"promote": False}])
def test_nightly_trial_says_so_in_the_event_of_its_release(fake_microrec, run_dag, events_since, trial):
    fake_microrec.answers(NIGHT)
    _, states = run_dag("microrec_nightly", run_conf={"config": "c.toml", "device": "cpu", **trial})
    assert (states["export"], states["promote"]) == ("success", "skipped")
    assert [event["trial"] for event in events_since("microrec_release")] == [True]


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_trained_runtime_counts_nights_that_trained_and_no_others(fake_microrec, run_dag):
    from airflow.utils.session import create_session
    from microrec_deadline import TrainedRuntime

    config = {"config": "c.toml", "device": "cpu"}
    fake_microrec.answers({**NIGHT, "promote": [0, {"run_id": "night-0", "held": HELD}]})
    run_dag("microrec_nightly", run_conf=config)
    with create_session() as session:
        before = TrainedRuntime()._evaluate_with(session=session, dag_id="microrec_nightly") - datetime.now(UTC)
    assert before > timedelta(0)
    fake_microrec.answers({**NIGHT, "changes": [0, {"champion": "night-0", "digest": "d0", "changes": []}]})
    _, states = run_dag("microrec_nightly", run_conf=config)
    assert states["train"] == "skipped"
    with create_session() as session:
        after = TrainedRuntime()._evaluate_with(session=session, dag_id="microrec_nightly") - datetime.now(UTC)
        assert TrainedRuntime()._evaluate_with(session=session, dag_id="another") is None
    assert after.total_seconds() == pytest.approx(before.total_seconds(), abs=1)


def test_usual_runtime_is_one_that_the_scheduler_can_read_and_airflow_s_own_without_the_plugin(monkeypatch, tmp_path):
    from airflow.serialization.decoders import decode_deadline_reference
    from airflow.serialization.encoders import encode_deadline_reference
    from microrec_deadline import TrainedRuntime, usual_runtime

    read = decode_deadline_reference(encode_deadline_reference(usual_runtime()))
    assert isinstance(read.inner_ref, TrainedRuntime)
    monkeypatch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(tmp_path))
    assert type(usual_runtime()).__name__ == "AverageRuntimeDeadline"


@pytest.fixture
def commands(monkeypatch):
    """Runs a task's function at some try; the commands it ran, those without the night's run id marked."""
    import microrec_stages

    def run(task, try_number, begun_again=False):
        ran = []

        def stand_in(command, *arguments, run=True):
            ran.append(command if run else f"{command} (no run)")
            answer = {"begun_again": begun_again, "modalities": {"image": {"content": "image"}}, "counts": {"users": 1}}
            return {**answer, "checks": CHECKS, "warnings": []}

        ti = SimpleNamespace(try_number=try_number, xcom_push=lambda key, value: None)
        context = {"ti": ti, "params": {"accept_change": False}}
        monkeypatch.setattr(microrec_stages, "get_current_context", lambda: context)
        monkeypatch.setattr(microrec_stages, "microrec", stand_in)
        monkeypatch.setattr(microrec_stages, "tell", lambda **_: None)
        getattr(microrec_stages, task).function()
        return ran

    return run


def test_check_input_pins_the_input_for_the_night(commands):
    assert commands("check_input", 1) == ["validate"]


def test_prepare_first_try_runs_one_command(commands):
    assert commands("prepare", 1) == ["prepare"]


@pytest.mark.parametrize(("begun_again", "extract"), [(True, "extract"), (False, "extract (no run)")])
def test_prepare_tried_again_takes_the_input_of_now(commands, begun_again, extract):
    assert commands("prepare", 2, begun_again) == ["validate", extract, "prepare"]


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_cleared_prepare_after_the_catalogue_moved_leads_to_a_finished_night(nightly, tmp_path, monkeypatch):
    """The command line itself, as the tasks call it: extraction, new interactions, `prepare`, `prepare` cleared."""
    import microrec_lineage
    import microrec_run
    import microrec_stages
    from airflow.sdk.exceptions import AirflowFailException

    monkeypatch.setenv("MICROREC_BIN", MICROREC)
    subprocess.run([MICROREC, "sample", str(tmp_path), "--items", "40", "--users", "60", "--json"], check=True)
    params = {name: nightly.params[name] for name in ("sample", "shards", "accept_change")} | {
        "device": "cpu",
        "set": [],
    }
    pushed = SimpleNamespace(try_number=1, xcom_push=lambda key, value: None)
    night = dag_run("manual__x", datetime(2026, 11, 24, 2, tzinfo=UTC))
    monkeypatch.setenv("MICROREC_CONFIG", str(tmp_path / "microrec.toml"))
    context = {"params": {**params, "config": "microrec.toml"}, "dag_run": night, "ti": pushed, "task": None}
    for module in (microrec_lineage, microrec_run, microrec_stages):
        monkeypatch.setattr(module, "get_current_context", lambda: context)
    assert microrec_stages.check_input.function() == {"image": ["image"], "text": ["text"]}
    for task, modality in (("extract_image", "image"), ("extract_text", "text")):
        getattr(microrec_stages, task).function(modality, "0/1")
    before = (tmp_path / "interactions.parquet").stat().st_size
    other = tmp_path / "other"
    subprocess.run([MICROREC, "sample", str(other), "--items", "50", "--users", "60", "--json"], check=True)
    for path in other.rglob("*"):
        if path.is_file() and path.name != "microrec.toml":
            target = tmp_path / path.relative_to(other)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    assert (tmp_path / "interactions.parquet").stat().st_size != before
    with pytest.raises(AirflowFailException, match="its input is no longer the one it began with"):
        microrec_stages.prepare.function()
    pushed.try_number = 2
    assert microrec_stages.prepare.function()["items"] == 50
    assert (tmp_path / "microrec-store/runs/night-20261124T020000/again-2/prepare/_SUCCESS").exists()


REFUSING = """#!/bin/sh
echo "$@" >> "$0.calls"
echo '{answer}'
echo 'microrec: the input is refused: it differs too much' >&2
exit 3
"""
REFUSAL = {
    "modalities": {},
    "warnings": ["one", "two", "three", "four"],
    "checks": {
        "verdict": "refused",
        "champion": "night-0",
        "note": "",
        "rows": [],
        "reasons": ["items: 577 then, 144 now (allowed: at least 520)"],
    },
}


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_refused_input_fails_at_once_and_the_note_says_which_rows(nightly, tmp_path, monkeypatch, accept):
    script = tmp_path / "microrec"
    script.write_text(REFUSING.replace("{answer}", json.dumps(REFUSAL)))
    script.chmod(0o755)
    monkeypatch.setenv("MICROREC_BIN", str(script))
    monkeypatch.setattr(nightly, "deadline", None)  # `dag.test()` of 3.3.2 trips over one (apache/airflow#73428)
    run = nightly.test(run_conf={"accept_change": accept})
    tasks = {instance.task_id: instance for instance in run.get_task_instances()}
    assert str(tasks["check_input"].state) == "failed"
    assert {str(tasks[name].state) for name in ("prepare", "train", "export", "promote")} == {"upstream_failed"}
    call, asked = Path(f"{script}.calls").read_text().splitlines()
    assert asked.split()[0] == "champion"  # of `summarise`, whatever has happened
    assert ("--accept-change" in call.split()) == accept
    note = tasks["summarise"].xcom_pull("summarise")
    assert "- input **refused**, compared with `night-0`\n- items: 577 then, 144 now (allowed: at least 520)\n" in note
    assert "- warning: three\n- and 1 more warnings" in note
    assert "four" not in note


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_nightly_sample_gives_a_verified_release_and_an_asset_event(nightly, tmp_path, monkeypatch):
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    monkeypatch.setenv("MICROREC_BIN", MICROREC)
    subprocess.run([MICROREC, "sample", str(tmp_path), "--items", "80", "--users", "100", "--json"], check=True)
    config = str(tmp_path / "microrec.toml")
    settings = ["train.max_epochs=6", "model.embedding_dim=16", "gate.baselines=[]"]  # six epochs do not beat item-kNN
    monkeypatch.setenv("MICROREC_CONFIG", config)
    conf = {"config": "microrec.toml", "device": "cpu", "set": settings, "shards": 1}
    monkeypatch.setattr(nightly, "deadline", None)  # `dag.test()` of 3.3.2 trips over one (apache/airflow#73428)
    run = nightly.test(run_conf=conf)
    states = {instance.task_id: str(instance.state) for instance in run.get_task_instances()}
    assert str(run.state) == "success", states
    note = next(task for task in run.get_task_instances() if task.task_id == "summarise").xcom_pull("summarise")
    assert re.search(r"seconds: extract_image [\d.]+, extract_text [\d.]+, prepare [\d.]+, train [\d.]+, ", note)
    releases = [path for path in (tmp_path / "microrec-store" / "releases").iterdir() if (path / "_SUCCESS").exists()]
    assert len(releases) == 1
    verified = subprocess.run(
        [MICROREC, "verify", "-c", config, releases[0].name, "--json"], check=True, capture_output=True, text=True
    )
    with create_session() as session:
        events = {event.name: event.extra for event in session.query(AssetEvent).all() if event.extra}
    assert {"microrec_release", "microrec_champion"} <= set(events)
    for name in ("microrec_release", "microrec_champion"):
        assert events[name]["digest"] in verified.stdout
        assert events[name]["metrics"]["validation"]["recall@20"] >= 0
        assert events[name]["run_id"] == releases[0].name
        assert events[name]["release"] == str(releases[0])
    again = nightly.test(run_conf=conf)
    states = {instance.task_id: str(instance.state) for instance in again.get_task_instances()}
    assert str(again.state) == "success", states
    assert {states[name] for name in ("train", "export", "promote")} == {"skipped"}
