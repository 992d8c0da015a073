"""What to say about an error that Polars raises while it reads a file."""

import polars as pl

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What Polars raises on what it cannot read; in rare cases a panic, which is not an `Exception`."""


def first_line(error: BaseException) -> str:
    """The first line of a message, without the query that follows it."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def mend_for(error: BaseException) -> str:
    """What sets it right: a value that cannot be converted, or a file that is damaged."""
    if isinstance(error, pl.exceptions.InvalidOperationError):
        return "correct the value or leave it empty"
    return "the file is damaged or was not written whole; write it anew, or fetch it again"
