"""Intervals, held against published and simulated ones."""

import numpy as np
import pytest

from pipeline.dataset.intervals import FEWEST_USERS, figure


def test_figure_of_shares_is_wilsons():
    found = figure(np.array([1.0] * 10 + [0.0] * 90))
    assert (found.value, found.users) == (0.1, 100)
    assert found.interval == pytest.approx((0.0552, 0.1744), abs=1e-4)  # Newcombe, Statistics in Medicine 17, 1998


def test_figure_of_nothing_found_is_not_certain():
    low, high = figure(np.zeros(100)).interval
    assert low == 0
    assert high == pytest.approx(0.0370, abs=1e-4)


def test_figure_of_few_users_has_no_interval():
    assert figure(np.ones(FEWEST_USERS - 1)).interval is None


def test_figure_interval_holds_the_mean_in_95_of_100_samples():
    rng = np.random.default_rng(0)
    held = [low <= 0.5 <= high for low, high in (figure(rng.random(50)).interval for _ in range(2000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
