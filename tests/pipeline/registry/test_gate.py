"""The gate's settings, and when a recorded verdict still counts; `test_judge.py` has how it comes to one."""

import dataclasses
import math

import pytest

from pipeline.errors import GateRefusedError
from pipeline.registry.champion import Champion
from pipeline.registry.gate import GateConfig, require_passed, still_counts, tags_of
from pipeline.release.verdict import Row, Verdict, read_verdict
from pipeline.storage.files import resolve
from pipeline.storage.layout import Store

REFUSAL = Row(name="popularity", verdict="refused", figure=-0.5, interval=(-0.6, -0.4), limit=0, percent=True, note="n")
CHAMPION = Champion(run_id="old", digest="d0", model_name="microrec", model_version="1", previous=None)


def verdict_of(gate=None, **changes):
    found = Verdict(
        run_id="new",
        verdict="refused",
        champion="old",
        champion_digest="d0",
        metric="recall@20",
        rows=[REFUSAL],
        gate=(gate or GateConfig()).as_record(),
    )
    return dataclasses.replace(found, **changes)


@pytest.fixture
def store(tmp_path):
    return Store(resolve(str(tmp_path), tmp_path))


@pytest.mark.parametrize("metric", ["none", "recall@10", "precision@20", "ndcg@10", "hit@20", "map@10"])
def test_gate_config_metric_that_is_measured_is_taken(metric):
    assert GateConfig(metric=metric).metric == metric


@pytest.mark.parametrize("metric", ["", "recall", "recall@5", "recall@20 ", "Recall@20", "users", "xrecall@20"])
def test_gate_config_metric_that_is_not_measured_is_refused(metric):
    with pytest.raises(ValueError, match=r"gate\.metric is .*; it is 'none', or a metric such as"):
        GateConfig(metric=metric)


def test_gate_config_coverage_has_no_interval_and_is_refused():
    with pytest.raises(ValueError, match="not a figure of single users"):
        GateConfig(metric="coverage@20")


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_gate_config_share_outside_of_0_and_1_is_refused(share):
    with pytest.raises(ValueError, match=r"gate\.max_regression is .*between 0 and 1"):
        GateConfig(max_regression=share)


@pytest.mark.parametrize("settings", [{"confidence": 1.0}, {"previous_champions": -1}, {"max_users": 0}])
def test_gate_config_setting_out_of_range_is_named(settings):
    with pytest.raises(ValueError, match=rf"gate\.{next(iter(settings))} is"):
        GateConfig(**settings)


def test_still_counts_only_against_the_same_champion_by_the_same_settings(store):
    gate = GateConfig()
    assert still_counts(verdict_of(), store, gate, "new", CHAMPION)
    assert not still_counts(None, store, gate, "new", CHAMPION)
    assert not still_counts(verdict_of(), store, gate, "another", CHAMPION)
    assert not still_counts(verdict_of(), store, gate, "new", None)
    assert not still_counts(verdict_of(), store, gate, "new", dataclasses.replace(CHAMPION, digest="d1"))
    assert not still_counts(verdict_of(), store, GateConfig(max_regression=0.5), "new", CHAMPION)
    assert not still_counts(verdict_of(verdict="superseded"), store, gate, "new", CHAMPION)


def test_require_passed_refusal_gives_every_reason():
    require_passed(verdict_of(verdict="passed"))
    with pytest.raises(GateRefusedError, match=r"release new is refused, against champion old: popularity: -50\.0 %"):
        require_passed(verdict_of())


def test_tags_of_verdict_are_short():
    long = dataclasses.replace(REFUSAL, note="n" * 5000)
    tags = tags_of(verdict_of(rows=[long]))
    assert tags["microrec.gate"] == "refused, against champion old"
    assert max(map(len, tags.values())) == 1000


def test_verdict_written_is_read_again(tmp_path):
    folder = resolve(str(tmp_path), tmp_path)
    assert read_verdict(folder) is None
    verdict_of().write(folder)
    assert read_verdict(folder) == verdict_of()
