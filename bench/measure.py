"""How everything here is measured: medians of interleaved calls, peak memory, and rows for the report."""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

GIB = 1 << 30
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Row:
    """One measured thing: `value` in the unit of `unit`, and what it is compared with."""

    what: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """A requirement of the design and whether it holds here."""

    text: str
    measured: str
    holds: bool


@dataclass
class Report:
    """What one benchmark found."""

    title: str
    rows: list[Row] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage, of a benchmark that is run at several sizes."""

    def row(self, what: str, value: str, note: str = "") -> None:
        """Add a row, and show it at once."""
        self.rows.append(Row(what, value, note))
        print(f"{self.title}: {what}: {value}" + (f"  ({note})" if note else ""), file=sys.stderr, flush=True)

    def bar(self, text: str, measured: str, holds: bool) -> None:
        """Add a bar, and show it at once."""
        self.bars.append(Bar(text, measured, holds))
        print(f"{self.title}: {'HOLDS' if holds else 'FAILS'}: {text}: {measured}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Print the report as one JSON object."""
        print(json.dumps(asdict(self)))


def seconds(function: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleaved(functions: Sequence[Callable[[], object]], rounds: int, warm_up: int = 1) -> list[list[float]]:
    """Seconds of every call, function by function; the calls take turns, so that a slow spell meets all alike."""
    for _ in range(warm_up):
        for function in functions:
            function()
    taken: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for times, function in zip(taken, functions, strict=True):
            times.append(seconds(function))
    return taken


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median of the ratios of calls that were made one after the other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def show(times: Sequence[float]) -> str:
    """Median, with the range where there were several."""
    middle = f"{statistics.median(times):.3g} s"
    return middle if len(times) == 1 else f"{middle} ({min(times):.3g} to {max(times):.3g})"


def extra_memory(function: Callable[[], object]) -> int:
    """Bytes by which the resident set's peak during a call exceeds the resident set before it (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    before = _status("VmRSS")
    function()
    return max(0, _status("VmHWM") - before)


def peak_memory() -> int:
    """Largest resident size of this process so far, or since the last `extra_memory`, bytes."""
    return _status("VmHWM")


def resident_memory() -> int:
    """Resident size of this process now, bytes."""
    return _status("VmRSS")


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
