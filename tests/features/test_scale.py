import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from features.scale import LARGEST, SMALLEST, in_range

LIMITS = np.finfo(np.float64)
ANY = st.floats(allow_nan=False, allow_infinity=False, width=64)
EXAMPLES = settings(max_examples=200, deadline=None)


def directions(vector_RD):
    """Rows of length 1 in long double, by way of their largest entry."""
    wide_RD = np.asarray(vector_RD, np.longdouble)
    wide_RD = wide_RD / np.abs(wide_RD).max(axis=1, keepdims=True)
    return wide_RD / np.sqrt((wide_RD**2).sum(axis=1, keepdims=True))


@EXAMPLES
@given(arrays(np.float64, (3, 4), elements=ANY))
def test_in_range_any_finite_rows_keep_their_directions_and_can_be_squared(vector_RD):
    scaled_RD, _ = in_range(vector_RD)
    assert scaled_RD.dtype == np.float32
    assert np.isfinite(scaled_RD @ scaled_RD.T).all()
    filled_R = vector_RD.any(axis=1)
    assert (scaled_RD.any(axis=1) == filled_R).all()
    np.testing.assert_allclose(directions(scaled_RD[filled_R]), directions(vector_RD[filled_R]), atol=1e-6)


@EXAMPLES
@given(arrays(np.float32, 4, elements=st.floats(-1, 1, width=32)), st.integers(-140, 126))
def test_in_range_power_of_two_outside_the_range_changes_nothing(vector_D, exponent):
    both_RD = np.stack([vector_D, np.ldexp(vector_D.astype(np.float64), exponent)])
    scaled_RD, odd_R = in_range(both_RD)
    if odd_R.all():
        np.testing.assert_array_equal(scaled_RD[0], scaled_RD[1])
    largest_R = np.abs(scaled_RD).max(axis=1)
    assert all(SMALLEST <= largest <= LARGEST or largest == 0 for largest in largest_R)


def test_in_range_usual_rows_stay_bit_for_bit_beside_others():
    rows_RD = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    rows_RD[2] *= np.float32(1e30)
    before = rows_RD.copy()
    scaled_RD, odd_R = in_range(rows_RD)
    assert odd_R.tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(rows_RD, before)
    np.testing.assert_array_equal(scaled_RD[~odd_R], before[~odd_R])
    np.testing.assert_array_equal(in_range(before[2:3])[0], scaled_RD[2:3])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_in_range_rows_that_are_not_finite_stay_so_for_the_caller(value):
    scaled_RD, odd_R = in_range(np.array([[1e300, 1.0], [value, 1e300]]))
    assert odd_R.tolist() == [True, False]
    assert not np.isfinite(scaled_RD[1]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.int64, np.uint64, np.uint8])
def test_in_range_numbers_of_every_type_without_a_warning(dtype):
    largest = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else np.finfo(dtype).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaled_RD, _ = in_range(np.array([[1, 0], [largest, 0], [0, 0]], dtype))
    assert scaled_RD[0].tolist() == [1, 0]
    assert scaled_RD[1, 0] > 0
    assert scaled_RD[2].tolist() == [0, 0]
    assert (np.abs(scaled_RD[1, 0]) <= LARGEST) == (dtype is not np.longdouble)
