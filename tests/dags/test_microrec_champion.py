"""The champion by hand, and who hears of it."""

import pytest
from airflow.sdk.exceptions import AirflowFailException

CHAMPION = {
    "run_id": "night-1",
    "release": "s3://store/releases/night-1",
    "digest": "d1",
    "counts": {"item_embeddings": 60},
    "model_version": "3",
    "metrics": {"validation": {"recall@20": 0.25}, "test": None, "cold": None},
    "held": {"reason": "half a catalogue", "since": "2026-11-24T02:00:00+00:00"},
    "changed": True,
}
GIVEN = {"action": "free", "version": "", "reason": "", "force": False}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"action": "promote", "version": "3"}, ["promote", "3"]),
        (
            {"action": "promote", "version": "3", "force": True, "reason": "x"},
            ["promote", "3", "--force", "--reason", "x"],
        ),
        ({"action": "rollback"}, ["rollback"]),
        ({"action": "rollback", "reason": "bad input"}, ["rollback", "--reason", "bad input"]),
        ({"action": "hold", "reason": "sale"}, ["champion", "hold", "--reason", "sale"]),
        ({"action": "free"}, ["champion", "free"]),
    ],
)
def test_command_of_each_action_is_the_command_line_s(given, words):
    from microrec_champion import command

    assert command({**GIVEN, **given}) == words


def test_command_promote_without_a_version_says_what_is_missing():
    from microrec_champion import command

    with pytest.raises(AirflowFailException, match="version is empty"):
        command({**GIVEN, "action": "promote"})


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
def test_rollback_announces_the_champion_so_that_consumers_follow(fake_microrec, run_dag, events_since):
    fake_microrec.answers({"rollback": [0, CHAMPION]})
    run, states = run_dag("microrec_champion", run_conf={"action": "rollback", "reason": "half", "config": "c.toml"})
    assert (str(run.state), states) == ("success", {"move": "success", "tell": "success"})
    assert fake_microrec.called() == [["rollback", "--reason", "half", "-c", "c.toml"]]
    assert events_since("microrec_champion") == [
        {
            "run_id": "night-1",
            "release": "s3://store/releases/night-1",
            "digest": "d1",
            "counts": {"item_embeddings": 60},
            "model_version": "3",
            "metrics": {"validation": {"recall@20": 0.25}},
        }
    ]


@pytest.mark.filterwarnings("ignore")  # Airflow's own libraries warn of one another
@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("promote", {**CHAMPION, "changed": False, "counts": {}, "metrics": None}),
        ("hold", {"run_id": "night-1", "model_version": "3", "held": CHAMPION["held"], "changed": True}),
    ],
)
def test_champion_that_has_not_moved_is_not_announced(fake_microrec, run_dag, events_since, action, answer):
    fake_microrec.answers({"promote": [0, answer], "champion": [0, answer]})
    run, states = run_dag("microrec_champion", run_conf={"action": action, "version": "3", "reason": "x"})
    assert (str(run.state), states) == ("success", {"move": "success", "tell": "skipped"})
    assert events_since("microrec_champion") == []
