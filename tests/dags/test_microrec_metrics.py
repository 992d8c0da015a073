"""What a night sends as metrics, and that alerts, dashboard and runbook know no others."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import microrec_metrics
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
SHARD = {"modality": "image", "contents": 20, "encoded": 7, "encoder_calls": 1}
RESULTS = {
    "run_id": "night-1",
    "checks": {"verdict": "ok", "num_warnings": 2, "margins": {"items": 0.08, "image, usable": 0.05}},
    "extract_image": [SHARD, SHARD, None],
    "extract_text": [{**SHARD, "modality": "text"}],
    "prepare": {"items": 60, "users": 70, "interactions": 80},
    "changes": {"changes": ["train.seed: 0 then, 1 now"]},
    "evaluate": {"validation": {"recall@20": 0.25, "ndcg@20": 0.125, "coverage@20": 1.0}},
    "margins": {"held out today": 0.05, "held out today, graded": 0.04, "coverage@20": 0.5},
    "drift": {
        "all": {"cosine_median": 0.9, "cosine_tail": 0.5, "neighbours_kept": 0.75, "recommendations_kept": None},
        "users": {"cosine_median": 0.95, "neighbours_kept": None, "recommendations_kept": 0.625},
    },
    "champion": {"as_of": None, "promoted_at": "2026-11-24T02:00:00+00:00"},
    "promote": {"digest": "d1"},
    "seconds": {
        **{name: [1.0] for name in ("prepare", "evaluate", "export", "register")},
        "extract_image": [1.5, 2.0, None],
        "extract_text": [1.0],
        "train": [10.0],
        "promote": [None],
    },
}


def test_night_metrics_of_a_whole_night():
    found = microrec_metrics.night_metrics(RESULTS)
    expected = {"promoted": 1, "refused": 0, "unchanged": 0, "warnings": 2, "encoded.image": 14, "cached.image": 6}
    expected |= {"encoded.text": 7, "cached.text": 13, "counts.items": 60, "seconds.extract_image": 3.5}
    expected |= {"validation.recall_at_20": 0.25, "validation.ndcg_at_20": 0.125, "seconds.train": 10.0}
    assert expected.items() <= found.items()
    assert "seconds.promote" not in found
    assert "validation.coverage_at_20" not in found


def test_night_metrics_have_each_margin_by_its_row_and_the_least_of_them():
    found = microrec_metrics.night_metrics(RESULTS)
    assert {name: found[name] for name in found if "margin" in name} == {
        "checks.least_margin": 0.05,
        "checks.margin.items": 0.08,
        "checks.margin.image_usable": 0.05,
        "gate.least_margin": 0.04,
        "gate.margin.held_out_today": 0.05,
        "gate.margin.held_out_today_graded": 0.04,
        "gate.margin.coverage_20": 0.5,
    }


def test_night_metrics_have_the_drift_that_was_measured():
    found = microrec_metrics.night_metrics(RESULTS)
    assert {name: found[name] for name in found if name.startswith("drift")} == {
        "drift.all.cosine_median": 0.9,
        "drift.all.neighbours_kept": 0.75,
        "drift.users.cosine_median": 0.95,
        "drift.users.recommendations_kept": 0.625,
    }


@pytest.mark.parametrize(
    ("champion", "age"),
    [
        ({"as_of": None, "promoted_at": "2026-11-24T02:00:00+00:00"}, 3600),
        ({"as_of": "2026-11-23T02:00:00+00:00", "promoted_at": "2026-11-24T02:00:00+00:00"}, 25 * 3600),
        ({"as_of": None, "promoted_at": None}, None),
        (None, None),
    ],
)
def test_night_metrics_have_the_age_of_the_champion_from_the_moment_that_it_stands_for(monkeypatch, champion, age):
    moment = datetime(2026, 11, 24, 3, tzinfo=UTC).timestamp()
    monkeypatch.setattr(microrec_metrics.time, "time", lambda: moment)
    assert microrec_metrics.night_metrics({"champion": champion}).get("champion.age") == age


@pytest.mark.parametrize(
    ("results", "ended"),
    [
        ({}, (0, 0, 0)),
        ({"checks": {"verdict": "refused", "num_warnings": 0}}, (0, 1, 0)),
        ({"refused": {"reason": "worse"}}, (0, 1, 0)),
        ({"changes": {"changes": []}}, (0, 0, 1)),
        ({"promote": {"digest": "d"}, "seconds": {"train": [None]}}, (1, 0, 0)),
    ],
)
def test_night_metrics_say_how_a_night_ended(results, ended):
    found = microrec_metrics.night_metrics(results)
    assert tuple(found[name] for name in ("promoted", "refused", "unchanged")) == ended


def test_send_names_the_dag_and_when_the_night_ended(monkeypatch):
    sent = {}
    monkeypatch.setattr(microrec_metrics.stats, "gauge", sent.__setitem__)
    microrec_metrics.send("microrec_nightly_books", RESULTS)
    assert sent["microrec_nightly_books.seconds.train"] == 10.0
    assert abs(sent["microrec_nightly_books.ended"] - time.time()) < 60
    assert all(type(value) is float for value in sent.values())


def test_alerts_and_dashboard_ask_for_metrics_that_nights_send():
    known = {name.replace(".", "_") for name in (*microrec_metrics.night_metrics(RESULTS), "ended")}
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [rule["expr"] for rule in rules()]
    asked = {name for query in queries for name in re.findall(r"airflow_microrec_nightly_(\w+)", query)}
    assert asked
    assert asked <= known


def test_each_alert_has_its_section_of_the_runbook():
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "how-to" / "runbook.md").read_text(), re.M)
    assert [rule["alert"] for rule in rules()] == sections
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/how-to/runbook.md#{rule['alert'].lower()}"


def rules():
    return yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
