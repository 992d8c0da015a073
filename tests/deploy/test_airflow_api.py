import pytest

from deploy.airflow_api import Airflow

TASK = {"task_id": "train", "try_number": 2, "map_index": -1}
LINES = [
    {"event": "running microrec train"},
    {
        "event": "Task failed with exception",
        "error_detail": [{"exc_value": "no configuration"}, {"exc_value": "cause"}],
    },
    {"event": "::endgroup::"},
]


@pytest.mark.parametrize(("content", "expected"), [(LINES, "no configuration"), (["gone"], "its log does not say why")])
def test_error_is_what_the_last_attempt_s_log_names(monkeypatch, content, expected):
    asked = []
    monkeypatch.setattr(Airflow, "call", lambda self, method, path: asked.append(path) or {"content": content})
    assert Airflow("1", "x").error("night", "manual__2026+00", TASK) == expected
    assert asked == ["dags/night/dagRuns/manual__2026%2B00/taskInstances/train/logs/2?map_index=-1&full_content=true"]


def test_error_of_a_task_whose_log_cannot_be_read_says_so(monkeypatch):
    def refuse(self, method, path):
        raise SystemExit("Airflow refused")

    monkeypatch.setattr(Airflow, "call", refuse)
    assert Airflow("1", "x").error("night", "r", TASK) == "its log cannot be read (Airflow refused)"
