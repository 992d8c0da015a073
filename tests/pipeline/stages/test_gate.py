"""`microrec gate`: what it writes, when it asks again, and how its answer comes into release, registry and page."""

import io
from datetime import UTC, datetime

import pytest
from mlflow import MlflowClient

from pipeline import stages
from pipeline.cli.show import show_verdict
from pipeline.dataset.dataset import load_dataset
from pipeline.errors import InputError
from pipeline.opening import open_run
from pipeline.registry.promotion import promote
from pipeline.release.verdict import Row, Verdict, read_verdict
from pipeline.run import run_stage
from pipeline.stages.gate import ask_gate, trained
from pipeline.stages.order import run_all
from pipeline.stages.register import register
from pipeline.storage.files import read_json
from pipeline.terminal import Terminal
from tests.pipeline.release_factory import make_config, make_run, quiet
from tests.pipeline.tiny import make_tiny

MONDAY, TUESDAY = (datetime(2026, 11, day, 2, tzinfo=UTC) for day in (23, 24))


@pytest.fixture
def config(tmp_path):
    return make_config(tmp_path)


def crown(run, as_of=None):
    registered = run_stage(run, stages.REGISTER, register)
    tracking = run.config.open_tracking()
    return promote(run.store, tracking, run.config.gate, registered.model_version, quiet(), as_of)


def test_ask_gate_first_night_passes_and_is_written(config):
    run = make_run(config, "r1")
    verdict = ask_gate(run)
    assert (verdict.verdict, verdict.champion, verdict.value) == ("passed", None, 0.2)
    assert read_verdict(run.path) == verdict


def test_ask_gate_before_evaluation_says_what_to_run(config):
    with pytest.raises(InputError, match="microrec evaluate --run-id r9"):
        ask_gate(open_run(config, "r9", quiet()))


def test_ask_gate_asks_before_export_and_moves_nothing(config):
    crown(make_run(config, "r1", recall=0.2), TUESDAY)
    before = read_json(config.open_store().champion)
    good, bad = make_run(config, "good", recall=0.25), make_run(config, "bad", recall=0.1)
    assert (ask_gate(good, TUESDAY).verdict, ask_gate(bad, TUESDAY).verdict) == ("passed", "refused")
    assert ask_gate(bad, MONDAY).verdict == "superseded"
    assert read_json(config.open_store().champion) == before


def test_ask_gate_switched_off_judges_nothing(tmp_path):
    run = make_run(make_config(tmp_path, gate={"metric": "none"}), "r1")
    verdict = ask_gate(run)
    assert (verdict.verdict, verdict.rows) == ("off", [])


def test_ask_gate_takes_what_was_recorded_only_while_the_champion_stands(config):
    run = make_run(config, "r2", recall=0.2)
    recorded = ask_gate(run)
    assert ask_gate(run, again=False) == recorded
    crown(make_run(config, "r1", recall=0.6))
    assert ask_gate(run, again=False).champion == "r1"


def test_trained_vectors_are_those_that_the_release_holds(config):
    run = make_run(config, "r1")
    candidate = trained(run)
    dataset = load_dataset(run.folder(stages.PREPARE), with_features=False)
    assert candidate.users.to_list() == dataset.users["user_id"].to_list()
    assert candidate.user_UD.shape == (len(candidate.users), config.model.embedding_dim)


def tags_of(run):
    version = run_stage(run, stages.REGISTER, register).model_version
    uri = run.config.tracking_uri
    return MlflowClient(uri, uri).get_model_version("microrec", version).tags


def test_run_all_has_the_verdict_in_summary_release_report_and_registry(tmp_path):
    config = make_tiny(tmp_path)
    run = open_run(config, "night", quiet())
    summary = run_all(run)
    release = run.store.release("night")
    assert summary.verdict == read_verdict(release)
    assert summary.verdict.verdict == "passed"
    listed = [entry["path"] for entry in read_json(release / "manifest.json")["files"]]
    assert "gate.json" in listed
    assert "Quality gate: passed" in (release / "report.html").read_text()
    assert tags_of(run)["microrec.gate"] == "passed, no champion to compare with"


def test_show_verdict_has_a_line_a_row_and_keeps_brackets():
    rows = [Row(name="new items", verdict="not judged", note="see [split]")]
    console = Terminal(width=200, record=True, file=io.StringIO())
    show_verdict(Verdict(run_id="r1", verdict="passed", metric="recall@20", rows=rows), console)
    text = console.export_text()
    assert "passed, no champion to compare with" in text
    assert "see [split]" in text
