"""The gate by itself: what passes and what is refused; `test_promotion.py` has it among the rest."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.records import Evaluation
from pipeline.errors import GateRefusedError, InputError
from pipeline.registry.gate import GateConfig, Measured, pass_gate


def measured(value, run_id="new", metric="recall@20"):
    return Measured(run_id=run_id, metrics=Evaluation(validation={metric: value}, test={metric: 1.0}))


def ask(value, before, **settings):
    return pass_gate(GateConfig(**settings), measured(value), measured(before, "old"))


def test_pass_gate_exactly_at_the_floor_says_how():
    assert ask(0.125, 0.25, max_regression=0.5) == (
        "gate: validation recall@20 0.1250, champion 0.2500, floor 0.1250: passed"
    )


def test_pass_gate_just_below_the_floor_is_refused_with_both_values():
    with pytest.raises(GateRefusedError, match=r"release new has .* 0\.1250, the champion old has 0\.2500; at least"):
        ask(math.nextafter(0.125, 0), 0.25, max_regression=0.5)


@given(before=st.floats(0, 1), share=st.floats(0, 1), value=st.floats(0, 1))
def test_pass_gate_is_a_comparison_with_the_floor(before, share, value):
    if value >= before * (1 - share):
        assert "passed" in ask(value, before, max_regression=share)
    else:
        with pytest.raises(GateRefusedError):
            ask(value, before, max_regression=share)


def test_pass_gate_without_allowed_loss_takes_the_same_and_no_less():
    assert ask(0.3, 0.3, max_regression=0)
    with pytest.raises(GateRefusedError):
        ask(math.nextafter(0.3, 0), 0.3, max_regression=0)


def test_pass_gate_by_default_lets_two_percent_go():
    assert ask(0.0981, 0.1)
    with pytest.raises(GateRefusedError, match=r"max_regression = 0\.02"):
        ask(0.0979, 0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_pass_gate_value_that_is_not_finite_is_refused(side, value):
    new, old = (value, 0.2) if side == "candidate" else (0.2, value)
    with pytest.raises(GateRefusedError, match=r'release (new|old) has no validation recall@20.*gate\.metric = "none"'):
        ask(new, old)


@pytest.mark.parametrize("validation", [None, {}])
def test_measured_where_nothing_was_held_out_has_no_value(validation):
    nothing = Measured(run_id="new", metrics=Evaluation(validation=validation, test={"recall@20": 0.9}))
    assert nothing.value("recall@20") is None
    with pytest.raises(GateRefusedError, match="release new has no validation recall@20"):
        pass_gate(GateConfig(), nothing, measured(0.2, "old"))
    with pytest.raises(GateRefusedError, match="release new has no validation recall@20"):
        pass_gate(GateConfig(), measured(0.2, "old"), nothing)


def test_measured_metric_that_does_not_exist_names_those_that_do():
    both = Measured(run_id="new", metrics=Evaluation(validation={"recall@20": 0.1, "ndcg@20": 0.2}))
    with pytest.raises(InputError, match=r"gate\.metric is 'map@10'; release new has ndcg@20, recall@20$"):
        both.value("map@10")


def test_pass_gate_compares_the_metric_it_is_told():
    new = Measured(run_id="new", metrics=Evaluation(validation={"recall@20": 0.1, "ndcg@10": 0.5}))
    old = Measured(run_id="old", metrics=Evaluation(validation={"recall@20": 0.9, "ndcg@10": 0.5}))
    assert "ndcg@10" in pass_gate(GateConfig(metric="ndcg@10"), new, old)
    with pytest.raises(GateRefusedError):
        pass_gate(GateConfig(), new, old)


@pytest.mark.parametrize("metric", ["none", "recall@10", "precision@20", "ndcg@10", "hit@20", "map@10", "coverage@20"])
def test_gate_config_metric_that_is_measured_is_taken(metric):
    assert GateConfig(metric=metric).metric == metric


@pytest.mark.parametrize("metric", ["", "recall", "recall@5", "recall@20 ", "Recall@20", "users", "xrecall@20"])
def test_gate_config_metric_that_is_not_measured_is_refused(metric):
    with pytest.raises(ValueError, match=r"gate\.metric is .*; it is 'none', or a metric such as"):
        GateConfig(metric=metric)


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_gate_config_share_outside_of_0_and_1_is_refused(share):
    with pytest.raises(ValueError, match=r"gate\.max_regression is .*between 0 and 1"):
        GateConfig(max_regression=share)
