"""Orthogonal Procrustes: planted rotations are found, scores stay, both sides weigh alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.release.rotation import TOLERANCE, moments, procrustes, residual, rotated, score_length, settled


def rotation_of(dim, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]


def rows_of(count, dim, seed):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(dim=st.integers(1, 12), users=st.integers(0, 40), seed=st.integers(0, 1000))
def test_procrustes_finds_the_planted_rotation(dim, users, seed):
    planted_DD, items_ID, users_UD = rotation_of(dim, seed), rows_of(dim + 5, dim, seed), rows_of(users, dim, seed + 1)
    sides = [(side, rotated(side, planted_DD)) for side in (items_ID, users_UD)]
    np.testing.assert_allclose(procrustes(sides), planted_DD, atol=1e-5)


def test_procrustes_of_noisy_rows_is_better_than_any_rotation_near_it():
    now_RD, planted_DD = rows_of(200, 6, 0), rotation_of(6, 1)
    then_RD = rotated(now_RD, planted_DD) + 0.5 * rows_of(200, 6, 2)
    found_DD = procrustes([(now_RD, then_RD)])
    np.testing.assert_allclose(found_DD.T @ found_DD, np.eye(6), atol=1e-12)
    least = np.square(now_RD @ found_DD - then_RD).sum()
    for seed in range(20):
        skew_DD = 0.1 * np.random.default_rng(seed).normal(size=(6, 6))
        near_DD, _ = np.linalg.qr(np.eye(6) + skew_DD - skew_DD.T)
        near_DD *= np.sign(np.diag(near_DD))
        assert np.square(now_RD @ found_DD @ near_DD - then_RD).sum() > least


def test_procrustes_sides_weigh_alike_whatever_their_number_and_length():
    now_RD, then_RD = rows_of(50, 5, 0), rows_of(50, 5, 1)
    other = rows_of(50, 5, 2), rows_of(50, 5, 3)
    often = tuple(np.tile(side, (30, 1)) * np.float32(7) for side in other)
    np.testing.assert_allclose(
        procrustes([(now_RD, then_RD), often]), procrustes([(now_RD, then_RD), other]), atol=1e-6
    )


def test_procrustes_of_nothing_but_zeros_is_a_rotation():
    zeros_RD = np.zeros((4, 3), dtype=np.float32)
    found_DD = procrustes([(zeros_RD, zeros_RD)])
    np.testing.assert_allclose(found_DD.T @ found_DD, np.eye(3), atol=1e-12)


def test_rotated_scores_are_what_they_were():
    users_UD, items_ID, turn_DD = rows_of(40, 16, 0), rows_of(60, 16, 1), rotation_of(16, 2)
    before, after = users_UD @ items_ID.T, rotated(users_UD, turn_DD) @ rotated(items_ID, turn_DD).T
    np.testing.assert_allclose(after, before, atol=2e-5)
    assert rotated(items_ID, turn_DD).dtype == np.float32


def test_settled_takes_the_bits_of_then_only_within_rounding():
    then_RD = rows_of(3, 4, 0)
    now_RD = then_RD.copy()
    now_RD[0] *= np.float32(1 + TOLERANCE / 4)
    now_RD[1] *= np.float32(1 + 4 * TOLERANCE)
    found_RD = settled(now_RD, then_RD)
    np.testing.assert_array_equal(found_RD[[0, 2]], then_RD[[0, 2]])
    np.testing.assert_array_equal(found_RD[1], now_RD[1])


def test_moments_of_many_blocks_equal_the_product(monkeypatch):
    one_RD, other_RD = rows_of(23, 4, 0), rows_of(23, 3, 1)
    monkeypatch.setattr("pipeline.release.rotation.BLOCK_ROWS", 5)
    np.testing.assert_allclose(moments(one_RD, other_RD), one_RD.astype(float).T @ other_RD, atol=1e-12)
    np.testing.assert_array_equal(rotated(one_RD, np.eye(4)), one_RD)


def test_score_length_is_the_root_mean_square_of_all_scores():
    users_UD, items_ID = rows_of(9, 4, 0), rows_of(7, 4, 1)
    assert score_length(users_UD, items_ID) == pytest.approx(np.sqrt(np.square(users_UD @ items_ID.T).mean()), rel=1e-6)
    assert score_length(users_UD[:0], items_ID) == 0


def test_residual_is_relative_to_the_length_of_then():
    then_RD = rows_of(5, 3, 0)
    assert residual(then_RD, then_RD) == 0
    assert residual(np.zeros_like(then_RD), then_RD) == pytest.approx(1)
    assert residual(then_RD[:0], then_RD[:0]) == 0
