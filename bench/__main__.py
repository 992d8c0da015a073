"""Run every benchmark in a process of its own and write docs/benchmarks.md: `make bench`."""

import json
import math
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

SIZES = (10_000, 100_000, 1_000_000)
BENCHMARKS = (
    *("graph", "contrastive", "epoch", "evaluation", "extraction", "preflight"),
    *(f"scale {size}" for size in SIZES),
)
TARGET = Path("docs/benchmarks.md")
KEPT = "<!-- kept: what follows is not written by make bench -->"


def main() -> None:
    """Run, collect, write."""
    reports = [report for name in BENCHMARKS if (report := run(name))]
    old = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    kept = KEPT + old.partition(KEPT)[2] if KEPT in old else KEPT + "\n"
    TARGET.write_text(
        "\n".join([*heading(), *bars(reports), *growth(reports), *tables(reports), kept]), encoding="utf-8"
    )
    print(f"written: {TARGET}")


def run(name: str) -> dict[str, Any] | None:
    """The report of one benchmark; None where it failed, its own words being on standard error."""
    print(f"--- {name}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", *f"bench.{name}".split()], stdout=subprocess.PIPE, text=True, check=False
    )
    report: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return report


def heading() -> list[str]:
    """Machine and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return [
        "# Benchmarks",
        "",
        "Written by `make bench`. Ratios come from calls that took turns in one process; seconds depend on the",
        "machine and on what else it was doing. Method: `bench/measure.py`; the plain formulation: `bench/plain.py`;",
        "inputs: `bench/workload.py`, power-law degrees, seed 0.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}; {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used, "
        f"{memory:.0f} GiB, load {os.getloadavg()[1]:.1f} at the end; Python {platform.python_version()}, "
        f"torch {torch.__version__}.",
        "",
    ]


def processor() -> str:
    """The processor's name, or the architecture where the system does not tell it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def bars(reports: list[dict[str, Any]]) -> list[str]:
    """The table of requirements."""
    rows = [
        f"| {b['text']} | {b['measured']} | {'yes' if b['holds'] else '**no**'} |" for r in reports for b in r["bars"]
    ]
    return ["## Bars", "", "| bar | measured | holds |", "|---|---|---|", *rows, ""]


def growth(reports: list[dict[str, Any]]) -> list[str]:
    """Seconds per stage at every size, and the exponent between two: 1 where ten times the data take ten times."""
    grown = [report["stages"] for report in reports if report["stages"]]
    if len(grown) < len(SIZES):
        return []
    head = " | exponent | ".join(f"{size:,} items" for size in SIZES)
    lines = ["## Growth", "", f"| seconds | {head} |", "|---|" + "---|" * (2 * len(SIZES) - 1)]
    for stage, first in grown[0].items():
        cells = [f"{first:.2f}"]
        for before, after in pairwise(grown):
            cells += [f"{math.log10(after[stage] / before[stage]):.2f}", f"{after[stage]:.2f}"]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return [*lines, ""]


def tables(reports: list[dict[str, Any]]) -> list[str]:
    """A table a benchmark."""
    lines = []
    for report in reports:
        rows = [f"| {row['what']} | {row['value']} | {row['note']} |" for row in report["rows"]]
        lines += [f"## {report['title'].capitalize()}", "", "| | | |", "|---|---|---|", *rows, ""]
    return lines


if __name__ == "__main__":
    main()
