"""Line charts as SVG text: for the report, where they follow its colours, and as files of their own.

Drawn by hand rather than by a plotting library: a few hundred bytes that scale to any screen, take the page's
light or dark colours, and are the same bytes for the same numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 268
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 34, 38
COLOURS = ("#1f5fae", "#c0561b", "#2e8560", "#8a4fa3")
DASHES = ("none", "7 3", "2 3", "9 3 2 3")
MAX_POINTS, MAX_DOTS = 400, 40

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line: its name and its (x, y) points in order of x."""

    name: str
    points: Sequence[Point]


def line_chart(
    title: str, description: str, series: Sequence[Series], *, x_label: str, mark: float | None = None
) -> str:
    """Draw lines over one x axis; `mark` is an x to point out. Without any finite point: an empty text."""
    drawn = [Series(line.name, _thin([point for point in line.points if math.isfinite(point[1])])) for line in series]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return ""
    frame = _Frame([point for line in drawn for point in line.points])
    parts = [
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{title}. {description}")}" font-family="system-ui, sans-serif" font-size="12">',
        *_grid(frame, x_label),
        *(_mark(frame, mark) if mark is not None else []),
        *(part for number, line in enumerate(drawn) for part in _line(frame, line, number)),
        *_legend(drawn),
        "</svg>",
    ]
    return "\n".join(parts)


def nice_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `wanted` of them."""
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


class _Frame:
    """From values to places on the drawing."""

    def __init__(self, points: Sequence[Point]) -> None:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        self.y_ticks = nice_ticks(min(ys), max(ys), 4)
        self.low_x, self.high_x = min(xs), max(xs)
        self.x_ticks = sorted({round(tick) for tick in nice_ticks(self.low_x, self.high_x, 5)})
        self.x_ticks = [tick for tick in self.x_ticks if self.low_x <= tick <= self.high_x] or [round(self.low_x)]

    def x(self, value: float) -> float:
        span = self.high_x - self.low_x
        share = (value - self.low_x) / span if span else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _thin(points: Sequence[Point]) -> list[Point]:
    """At most `MAX_POINTS` of them, first and last included."""
    if len(points) <= MAX_POINTS:
        return list(points)
    return [points[round(place * (len(points) - 1) / (MAX_POINTS - 1))] for place in range(MAX_POINTS)]


def _grid(frame: _Frame, x_label: str) -> list[str]:
    parts = []
    decimals = max(len(f"{tick:.6g}".partition(".")[2]) for tick in frame.y_ticks)
    for tick in frame.y_ticks:
        y = frame.y(tick)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" style="stroke:var(--line,#ddd)"/>'
        )
        parts.append(_text(LEFT - 8, y + 4, f"{tick:.{decimals}f}", "end"))
    parts += [_text(frame.x(tick), HEIGHT - BOTTOM + 17, f"{tick}", "middle") for tick in frame.x_ticks]
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "middle")]


def _mark(frame: _Frame, value: float) -> list[str]:
    x = frame.x(value)
    return [
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
        'style="stroke:var(--muted,#777)" stroke-dasharray="1 3" stroke-linecap="round"/>'
    ]


def _line(frame: _Frame, line: Series, number: int) -> list[str]:
    colour = _colour(number)
    places = [(frame.x(x), frame.y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [
        f'<polyline points="{path}" fill="none" style="stroke:{colour}" stroke-width="2" '
        f'stroke-linejoin="round" stroke-dasharray="{DASHES[number % len(DASHES)]}"/>'
    ]
    if len(places) <= MAX_DOTS:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" style="fill:{colour}"/>' for x, y in places]
    return parts


def _legend(series: Sequence[Series]) -> list[str]:
    parts, x = [], float(LEFT)
    for number, line in enumerate(series):
        parts.append(
            f'<line x1="{x:.0f}" x2="{x + 22:.0f}" y1="13" y2="13" style="stroke:{_colour(number)}" stroke-width="2.4" '
            f'stroke-dasharray="{DASHES[number % len(DASHES)]}"/>'
        )
        parts.append(_text(x + 28, 17, line.name, "start", "var(--ink,#555)"))
        x += 28 + 6.6 * len(line.name) + 18
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str = "var(--muted,#777)") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{colour}">{escape(text)}</text>'


def _colour(number: int) -> str:
    return f"var(--series-{number % len(COLOURS)},{COLOURS[number % len(COLOURS)]})"
