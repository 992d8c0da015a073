"""Vectors of any length as float32 whose squares, and the sums of them, stay numbers.

float32 squares end at 3e38 and fade below 1e-38. Of a vector of 1e20 the length is infinite, of one of 1e-25 it is 0;
either way its direction is lost without a message. Only the direction of a content vector counts.

Shapes: R rows, D dimension.
"""

import numpy as np

SMALLEST, LARGEST = 2.0**-10, 2.0**20
"""Of a row's largest entry, by amount. Below, the bias of a learned projection would soon hide the row; far above, its
square is infinite."""


@np.errstate(over="ignore")  # rows that are not finite are for the caller, and so are floats beyond float64
def in_range(vector_RD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows as float32 (R, D), and which of them have been scaled, bool (R,).

    A row whose largest entry lies outside `SMALLEST` to `LARGEST` is multiplied by the power of two that brings that
    entry to between 1/2 and 1. This is exact, and done before float64 becomes float32. All other rows stay as they are,
    and so do rows of zeros and rows that are not finite. The result for a row depends on this row alone, so that
    vectors of new items fit those of the catalogue.

    Args:
        vector_RD: numbers of any type; left as it is.
    """
    if vector_RD.dtype not in (np.float16, np.float32):
        vector_RD = vector_RD.astype(np.float64)
    largest_R = np.abs(vector_RD).max(axis=1, initial=0.0).astype(np.float64)
    odd_R = ((largest_R < SMALLEST) | (largest_R > LARGEST)) & (largest_R > 0) & np.isfinite(largest_R)
    if odd_R.any():
        exponent_S = np.frexp(largest_R[odd_R])[1]
        scaled_SD = np.ldexp(vector_RD[odd_R].astype(np.float64), -exponent_S[:, None])
        vector_RD = vector_RD.astype(np.float64)
        vector_RD[odd_R] = scaled_SD
    return vector_RD.astype(np.float32), odd_R
