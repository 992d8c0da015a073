"""Random draws that depend on ids alone: the same rows are drawn every night and on every machine."""

import hashlib

import numpy as np
import polars as pl


def draws(seed: int, *ids: pl.Series) -> np.ndarray:
    """One uniform uint64 a row that depends on the seed and the row's ids alone, never on the other rows.

    So tomorrow's additions leave today's draws as they are (docs/decisions/0012-warm-start.md). Each distinct id
    is hashed once; the rest is splitmix64's finaliser over whole columns.
    """
    draw = np.full(len(ids[0]), _digest(str(seed)), dtype=np.uint64)
    for column in ids:
        distinct = column.unique()
        digest = pl.Series([_digest(str(value)) for value in distinct], dtype=pl.UInt64)
        draw = _mixed(draw ^ column.replace_strict(distinct, digest, return_dtype=pl.UInt64).to_numpy())
    return draw


def draw_of(seed: int, *columns: str) -> pl.Expr:
    """`draws` of some id columns as an expression."""
    return pl.map_batches(
        [pl.col(name) for name in columns],
        lambda ids: pl.Series(draws(seed, *ids), dtype=pl.UInt64),
        return_dtype=pl.UInt64,
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(value: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele, Lea & Flood 2014): every bit of the input reaches every bit of the output."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(value ^ (value >> np.uint64(31)))
