"""Intervals against hand-computed figures, a bootstrap and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.registry.judging.statistics import FEWEST_USERS, Estimate, detectable_fall, mean, relative_difference
from tests import reference


def test_relative_difference_hand_computed():
    """Ten groups of four users: new 1, 0, 1, 1 and old 1, 1, 0, 1 have the same mean 3/4 and ratio 1."""
    new_Q, old_Q = np.tile([1.0, 0, 1, 1], 10), np.tile([1.0, 1, 0, 1], 10)
    estimate = relative_difference(new_Q, old_Q, 0.95)
    deviation = np.sqrt(40 / 39 * 0.5)  # of 0, -1, 1, 0
    assert (estimate.value, estimate.users) == (0, 40)
    assert estimate.error == pytest.approx(deviation / np.sqrt(40) / 0.75)
    assert estimate.interval == pytest.approx((-1.959964 * estimate.error, 1.959964 * estimate.error))


@pytest.mark.parametrize("fall", [0.0, 0.1])
def test_relative_difference_interval_is_the_bootstraps(fall):
    rng = np.random.default_rng(0)
    old_Q = rng.random(800) * (rng.random(800) < 0.4)
    new_Q = np.where(rng.random(800) < 0.2 + fall, rng.permutation(old_Q) * (1 - fall), old_Q)
    estimate = relative_difference(new_Q, old_Q, 0.95)
    expected = reference.bootstrap_interval(new_Q, old_Q, 0.95, 4000, rng)
    assert estimate.interval == pytest.approx(expected, abs=0.12 * (expected[1] - expected[0]))


def test_relative_difference_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        liking_Q = rng.random(300)
        old_Q, new_Q = rng.binomial(3, liking_Q * 0.5) / 3, rng.binomial(3, liking_Q * 0.45) / 3
        low, high = relative_difference(new_Q, old_Q, 0.9).interval
        covered += low <= -0.1 <= high
    assert covered / 1000 == pytest.approx(0.9, abs=0.03)


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
@settings(deadline=None)
def test_relative_difference_knows_no_unit(seed, scale):
    rng = np.random.default_rng(seed)
    new_Q, old_Q = rng.random(50), rng.random(50) + 0.1
    one, other = relative_difference(new_Q, old_Q, 0.95), relative_difference(scale * new_Q, scale * old_Q, 0.95)
    assert (other.value, other.error) == pytest.approx((one.value, one.error))


def test_relative_difference_without_enough_users_or_hits_is_none():
    ones, zeros = np.ones(FEWEST_USERS), np.zeros(FEWEST_USERS)
    assert relative_difference(ones[1:], ones[1:], 0.95) is None
    assert relative_difference(ones, zeros, 0.95) is None
    assert relative_difference(zeros, ones, 0.95).interval == (-1, -1)


def test_mean_interval_is_scipys():
    value_Q = np.random.default_rng(0).random(100)
    estimate = mean(value_Q, 0.9)
    expected = stats.norm.interval(0.9, loc=value_Q.mean(), scale=stats.sem(value_Q))
    assert estimate.interval == pytest.approx(expected)
    assert mean(value_Q[: FEWEST_USERS - 1], 0.9) is None


def test_detectable_fall_is_refused_in_so_many_nights():
    estimate = Estimate(value=0.0, error=0.01, confidence=0.95, users=800)
    fall = detectable_fall(estimate, 0.02)
    upper = np.random.default_rng(0).normal(fall, 0.01, size=20_000) + 1.959964 * 0.01
    assert (upper < -0.02).mean() == pytest.approx(0.95, abs=0.01)
