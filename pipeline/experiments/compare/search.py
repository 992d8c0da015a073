"""Choices beside those that a row begins with: the best must lie inside of what was tried.

A number that is searched has a factor. As long as the best choice has no other within that factor above it, or below
it, all other settings alike, the next to be tried stands there. So a grid that is too narrow widens, and one that is
too coarse becomes finer around its best; a bound on the number of tries ends the search.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.experiments.compare.contestant import Settings

MOST_FURTHER = 16
"""Choices tried in addition, for each row and seed."""
SLACK = 1.001
"""Two values count as the same within this: they come from products in another order."""


def next_choice(steps: Mapping[str, float], best: Settings, tried: Iterable[Settings]) -> Settings | None:
    """What to try next; None where the best has been tried on both sides of every number that is searched."""
    tried = list(tried)
    for name, factor in steps.items():
        if not _is_number(best.get(name)):
            continue
        line = _line(name, best, tried)
        for toward in (factor, 1 / factor):
            value = _moved(best[name], toward)
            if not any(_between(best[name], other, value) for other in line):
                return {**best, name: value}
    return None


def at_edge(steps: Mapping[str, float], best: Settings, tried: Iterable[Settings]) -> list[str]:
    """The searched numbers of which the best choice has the highest or lowest value tried; told for people."""
    tried = list(tried)
    told = []
    for name in steps:
        value = best.get(name)
        if not _is_number(value) or value == _moved(value, 0.5):  # 0, or a count of 1: there is nothing below
            continue
        line = [other for other in _line(name, best, tried) if not _same(value, other)]
        sides = (("highest", any(other > value for other in line)), ("lowest", any(other < value for other in line)))
        told += [f"{name} = {value:g} ({side})" for side, is_inside in sides if not is_inside]
    return told


def _line(name: str, best: Settings, tried: Iterable[Settings]) -> list[Any]:
    """Values that were tried of one setting, all others as in the best."""
    rest = {key: value for key, value in best.items() if key != name}
    return [
        other[name]
        for other in tried
        if _is_number(other.get(name)) and {key: value for key, value in other.items() if key != name} == rest
    ]


def _moved(value: Any, factor: float) -> Any:
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


def _between(best: Any, other: Any, value: Any) -> bool:
    """Whether `other` lies beyond the best and not beyond `value`, or is `value`."""
    low, high = sorted((best, value))
    return _same(other, value) or (low < other < high and not _same(other, best))


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (min(one, other) > 0 and max(one, other) / min(one, other) < SLACK))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
