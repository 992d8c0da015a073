"""A refused night, from the gate to an operator's answer."""

import threading
import time
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another

METRICS = {"validation": {"recall@20": 0.25, "ndcg@20": 0.1}, "test": None}
RELEASE = {"release": "s3://store/releases/night-1", "digest": "d1", "counts": {"user_vectors": 6}}
CHECKS = {"verdict": "ok", "champion": "night-0", "note": "", "reasons": []}
REFUSED = {
    "validate": [0, {"modalities": {}, "warnings": [], "checks": CHECKS}],
    "prepare": [0, {"counts": {"users": 6}}],
    "changes": [0, {"champion": "night-0", "digest": "d0", "changes": ["items.parquet"]}],
    "train": [0, {"epochs": 5, "best_epoch": 4, "device": "cpu"}],
    "evaluate": [0, {"metrics": METRICS}],
    "gate": [3, "microrec: recall@20 fell by a tenth"],
}
NIGHT = {
    "run_id": "night-1",
    "reason": "recall@20 fell by a tenth",
    "as_of": "2026-11-24T02:00:00+00:00",
    "config": "c.toml",
    "set": ["train.device=cpu"],
}
APPROVED = {
    "evaluate": [0, {"metrics": METRICS}],
    "export": [0, RELEASE],
    "register": [0, {"model_version": "7"}],
    "promote": [0, {"run_id": "night-1", "held": None, "as_of": NIGHT["as_of"], "changed": True}],
}


def test_refused_night_ends_red_and_asks_an_operator_without_waiting(fake_microrec, run_dag):
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    fake_microrec.answers(REFUSED)
    run, states = run_dag("microrec_nightly", run_conf={"config": "c.toml", "device": "cpu"})
    assert str(run.state) == "failed"
    assert (states["gate"], states["ask_approval"], states["promote"]) == ("failed", "success", "upstream_failed")
    with create_session() as session:
        [asked] = session.query(DagRun).filter(DagRun.dag_id == "microrec_approval").all()
    assert asked.run_id == f"{run.run_id}.1"
    assert asked.conf["reason"].endswith("recall@20 fell by a tenth")
    assert (asked.conf["config"], asked.conf["set"]) == ("c.toml", ["train.device=cpu"])
    assert asked.conf["run_id"].startswith("night-2")
    note = next(task for task in run.get_task_instances() if task.task_id == "summarise").xcom_pull("summarise")
    assert "**refused**, waits for an approval" in note


def test_night_that_fails_before_the_gate_asks_nobody(fake_microrec, run_dag):
    fake_microrec.answers({**REFUSED, "prepare": [2, "microrec: items.parquet lacks item_id"]})
    run, states = run_dag("microrec_nightly", run_conf={"config": "c.toml", "device": "cpu"})
    assert (str(run.state), states["ask_approval"]) == ("failed", "skipped")


def answer(option):
    """Answer the first question that waits, as the page does."""
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    user = SimpleNamespace(get_id=lambda: "1", get_name=lambda: "Ada")
    payload = UpdateHITLDetailPayload(chosen_options=[option], params_input={})
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with create_session() as session:
            waiting = session.query(TaskInstance).filter(TaskInstance.state == "awaiting_input").first()
            if waiting:
                update_hitl_detail("microrec_approval", waiting.run_id, "ask", payload, user, session)
                return
        time.sleep(0.5)


def decide(run_dag, option):
    operator = threading.Thread(target=answer, args=(option,), daemon=True)
    operator.start()
    done = run_dag("microrec_approval", run_conf=NIGHT)
    operator.join()
    return done


def test_approved_night_is_published_registered_and_promoted_by_force(fake_microrec, run_dag, events_since):
    fake_microrec.answers(APPROVED)
    run, states = decide(run_dag, "Approve")
    assert (str(run.state), set(states.values())) == ("success", {"success"})
    common = ["-c", "c.toml", "--set", "train.device=cpu"]
    export, _, register, promote = fake_microrec.called()
    assert export == ["export", *common, "--run-id", "night-1"]
    assert register == ["register", *common, "--run-id", "night-1"]
    why = "approved by Ada: recall@20 fell by a tenth"
    assert promote == [
        "promote",
        "7",
        "--force",
        "--reason",
        why,
        "--as-of",
        NIGHT["as_of"],
        *common,
        "--run-id",
        "night-1",
    ]
    event = {"run_id": "night-1", **RELEASE, "metrics": {"validation": METRICS["validation"]}}
    assert events_since("microrec_champion") == [{**event, "model_version": "7"}]
    assert events_since("microrec_release") == [{**event, "trial": False}]


def test_rejected_night_moves_nothing(fake_microrec, run_dag, events_since):
    fake_microrec.answers(APPROVED)
    run, states = decide(run_dag, "Reject")
    assert str(run.state) == "success"
    assert states == {"ask": "success", "export": "skipped", "register": "skipped", "promote": "skipped"}
    assert events_since("microrec_champion") == []


def test_approved_night_older_than_the_champion_does_not_replace_it(fake_microrec, run_dag, events_since):
    later = {"run_id": "night-2", "held": None, "as_of": "2026-11-25T02:00:00+00:00", "changed": False}
    fake_microrec.answers({**APPROVED, "promote": [0, later]})
    run, states = decide(run_dag, "Approve")
    assert (str(run.state), states["promote"]) == ("success", "skipped")
    assert events_since("microrec_champion") == []


def test_approval_waits_for_days_and_is_a_rejection_after_that():
    from microrec_approval import approval
    from microrec_shops import find_shops

    dag = approval(find_shops()[0])
    ask = dag.get_task("ask")
    assert (ask.response_timeout.days, ask.defaults) == (7, ["Reject"])
    assert dag.max_active_runs == 100
