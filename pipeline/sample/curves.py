"""Curves in the frame of a product, from -1 to 1 with y downward, and the parts made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Literal

Point = tuple[float, float]
Vary = Callable[[float, float], float]
"""Draws a number between two bounds: no two items of a type have quite the same proportions."""
Paint = Literal["pattern", "colour", "dark", "light", "wood", "metal", "white", "ink", "tea", "leaf"]


@dataclass(frozen=True)
class Part:
    """One painted piece."""

    outline: Sequence[Point]
    paint: Paint = "pattern"
    stroke: float = 0
    """Width of a line along the outline; 0 fills it."""


def ellipse(x: float, y: float, across: float, down: float, start: float = 0, end: float = 2) -> list[Point]:
    """Points on an ellipse around (x, y); angles in units of pi, clockwise from the right."""
    steps = 72
    angles = [pi * (start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + across * cos(angle), y + down * sin(angle)) for angle in angles]


def smooth(points: Sequence[Point]) -> list[Point]:
    """An open Catmull-Rom curve through the points; a point given twice is a corner."""
    padded = [points[0], *points, points[-1]]
    return [
        _catmull_rom(padded[place : place + 4], step / 12) for place in range(len(points) - 1) for step in range(13)
    ]


def _catmull_rom(knots: Sequence[Point], t: float) -> Point:
    def blend(before: float, start: float, end: float, after: float) -> float:
        slope = (end - before) * t + (2 * before - 5 * start + 4 * end - after) * t**2
        return start + 0.5 * (slope + (3 * start - before - 3 * end + after) * t**3)

    (ax, ay), (bx, by), (cx, cy), (dx, dy) = knots
    return blend(ax, bx, cx, dx), blend(ay, by, cy, dy)


def mirrored(right: Sequence[Point]) -> list[Point]:
    """Close a right-hand profile, top to bottom, with its mirror image."""
    return [*right, *((-x, y) for x, y in reversed(right))]


def rounded(x: float, y: float, across: float, down: float, corner: float) -> list[Point]:
    """A rectangle around (x, y) with half-sides `across`, `down` and round corners."""
    centres = ((1, 1, 0), (-1, 1, 0.5), (-1, -1, 1), (1, -1, 1.5))
    return [
        point
        for side_x, side_y, start in centres
        for point in ellipse(
            x + side_x * (across - corner), y + side_y * (down - corner), corner, corner, start, start + 0.5
        )[::6]
    ]
