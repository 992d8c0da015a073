"""What every kind of fault is told as."""

from dataclasses import dataclass

from pipeline.addresses import masked

MAX_WORDS = 500
"""Characters of another program's message that are repeated."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What failed outside this program."""

    message: str
    """One line: what failed, and what sets it right."""
    passing: bool
    """Whether the same command may succeed later with nothing changed."""


def one_line(error: BaseException) -> str:
    """The words of an error on one line, its class where it has none, without secrets."""
    words = masked(" ".join(str(error).split())) or type(error).__name__
    return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"


def is_named(error: BaseException, names: frozenset[tuple[str, str]]) -> bool:
    """Whether the error is of one of the classes, each named by its package and its own name."""
    return any((kind.__module__.partition(".")[0], kind.__name__) in names for kind in type(error).__mro__)


def passes(status: int) -> bool:
    """Whether an HTTP answer may be another one later: throttled, timed out, or the server's own failure."""
    return status in (408, 429) or (status >= 500 and status not in (501, 505))
