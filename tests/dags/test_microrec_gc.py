"""The DAG that removes what no night needs."""

import pytest

FOUND = {
    "applied": True,
    "bytes": 12,
    "items": [{"kind": "run", "name": f"n{number}", "bytes": 1, "removed": True} for number in range(60)],
    "kept": [],
    "notes": ["features stay: run tonight is in progress"],
}


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
@pytest.mark.parametrize(("apply", "words"), [(True, ["--apply"]), (False, [])])
def test_gc_is_one_command_with_the_parameters_it_is_given(fake_microrec, run_dag, apply, words):
    fake_microrec.answers({"gc": [0, FOUND]})
    given = {"config": "c.toml", "keep": 3, "keep_days": 0.5, "apply": apply}
    run, states = run_dag("microrec_gc", run_conf=given)
    assert (str(run.state), states) == ("success", {"collect": "success"})
    assert fake_microrec.called() == [["gc", "--keep", "3", "--keep-days", "0.5", *words, "-c", "c.toml"]]
    told = run.get_task_instance("collect").xcom_pull(task_ids="collect")
    assert (told["bytes"], told["notes"], len(told["items"])) == (12, FOUND["notes"], 50)


def test_gc_is_off_until_somebody_turns_it_on():
    import microrec_gc
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(microrec_gc.__file__).dags["microrec_gc"]
    assert dag.is_paused_upon_creation
    assert dag.timetable.expression == "0 12 * * 0"
