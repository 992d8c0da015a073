"""The DAG that embeds what is new between two nights."""

from types import SimpleNamespace

import pytest
from microrec_settings import AirflowSettings
from microrec_shops import Shop

FOUND = {
    "run_id": "night-1",
    "release": "s3://store/releases/night-1",
    "digest": "ab",
    "increment": "s3://store/increments/night-1/00002",
    "number": 2,
    "changed": True,
    "items": 5,
    "added": 3,
    "removed": 1,
    "left_out": 1,
    "left_out_items": ["x"],
}


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_new_items_announces_what_was_published(fake_microrec, run_dag, events_since):
    fake_microrec.answers({"increment": [0, FOUND]})
    run, states = run_dag("microrec_new_items", run_conf={"config": "c.toml"})
    assert (str(run.state), states) == ("success", {"increment": "success"})
    assert fake_microrec.called() == [["increment", "-c", "c.toml"]]
    told = {name: FOUND[name] for name in FOUND if name not in ("changed", "left_out_items")}
    assert events_since("microrec_increment") == [told]


@pytest.mark.filterwarnings("ignore")
def test_new_items_where_nothing_is_new_tells_nobody(fake_microrec, run_dag, events_since):
    fake_microrec.answers({"increment": [0, {**FOUND, "changed": False}]})
    run, states = run_dag("microrec_new_items", run_conf={"config": "c.toml"})
    assert (str(run.state), states) == ("success", {"increment": "skipped"})
    assert events_since("microrec_increment") == []


def test_new_items_tried_again_announces_what_a_killed_attempt_may_have_published(fake_microrec, monkeypatch):
    import microrec_new_items

    context = {
        "params": {"config": "c.toml"},
        "dag_run": SimpleNamespace(run_id="scheduled__x", logical_date=None),
        "ti": SimpleNamespace(try_number=2),
    }
    announced = []
    monkeypatch.setattr(microrec_new_items, "get_current_context", lambda: context)
    monkeypatch.setattr(microrec_new_items, "announce", announced.append)
    fake_microrec.answers({"increment": [0, {**FOUND, "changed": False}]})
    dag = microrec_new_items.new_items(Shop("", "c.toml", AirflowSettings()))
    dag.get_task("increment").python_callable()
    assert [event["number"] for event in announced] == [2]


def test_new_items_is_off_until_somebody_turns_it_on_and_waits_for_the_hour_or_the_catalogue():
    import microrec_new_items
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(microrec_new_items.__file__).dags["microrec_new_items"]
    assert dag.is_paused_upon_creation
    assert dag.timetable.timetable.expression == "0 * * * *"
    assert dag.timetable.asset_condition.name == "microrec_catalogue"
    assert dag.get_task("increment").pool == "microrec_encode"
