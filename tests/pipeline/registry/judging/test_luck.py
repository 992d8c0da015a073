"""The gate's error rates on the sample's size, simulated; docs/decisions/0027-gate.md has the table."""

import numpy as np
import pytest

from pipeline.registry.gate import GateConfig
from tests.pipeline.registry.judging.luck import NUM_USERS, compared, night, refusals, shift_of

DRAWS = 500
GATE = GateConfig()
TWICE = 2 * GATE.max_regression


def test_night_has_the_errors_that_were_measured_on_the_sample():
    """Two trainings on the sample: standard errors 2.2 % of recall@20 and 0.74 % of the graded gain."""
    rng = np.random.default_rng(0)
    nights = [compared(*night(rng, [0.0, 0.0]), GATE.confidence) for _ in range(20)]
    assert np.mean([one.estimate.error for one in nights]) == pytest.approx(0.022, rel=0.05)
    assert np.mean([one.graded.error for one in nights]) == pytest.approx(0.0074, rel=0.05)


def test_night_worse_by_a_share_has_that_much_less_recall():
    worse, base = night(np.random.default_rng(0), [shift_of(TWICE), 0.0], 200_000)
    assert worse.recall_Q.mean() / base.recall_Q.mean() - 1 == pytest.approx(-TWICE, abs=0.003)


@pytest.mark.parametrize("previous", [0, 5])
def test_gate_equal_models_are_refused_in_under_two_of_a_hundred_nights(previous):
    assert refusals(GATE, 0.0, DRAWS, previous=previous)["all"] < 0.02


@pytest.mark.xfail(strict=True, reason="800 users: refused in two nights of three; luck of the seed hides the rest")
def test_gate_worse_by_twice_the_allowance_is_refused_in_over_ninety_five_of_a_hundred():
    assert refusals(GATE, TWICE, DRAWS)["all"] > 0.95


def test_gate_worse_by_twice_the_allowance_is_refused_four_times_as_often_as_by_recall_alone():
    share = refusals(GATE, TWICE, DRAWS)
    assert share["all"] > 0.6
    assert share["all"] > 3 * share["recall"]


def test_gate_worse_by_three_times_the_allowance_is_refused_in_over_ninety_five_of_a_hundred():
    assert refusals(GATE, 3 * GATE.max_regression, DRAWS)["all"] > 0.95


def test_gate_worse_by_twice_the_allowance_with_four_times_the_users_is_refused_in_over_ninety_five_of_a_hundred():
    assert refusals(GATE, TWICE, DRAWS // 2, num_users=4 * NUM_USERS)["all"] > 0.95
