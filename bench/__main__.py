"""Run every benchmark, each in a process of its own, and write docs/benchmarks.md: `make bench`.

`python -m bench gpu`, where there is one, runs the one that needs it.
"""

import argparse
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
    *("graph", "contrastive", "epoch", "evaluation", "encoders", "extraction", "end_to_end", "preflight", "serving"),
    *(f"scale {size}" for size in SIZES),
)
ON_A_GPU = ("gpu",)
READINGS = Path("bench/readings")
TARGET = Path("docs/benchmarks.md")
KEPT = "<!-- kept: what follows is not written by make bench -->"


def main() -> None:
    """Measure what is named, or everything, and write the page from the latest reading of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = (*BENCHMARKS, *ON_A_GPU)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; those left out keep their last reading")
    names = parser.parse_args().names or BENCHMARKS
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no {unknown[0]!r}; known are {', '.join(known)}; quote 'scale 1000000'")
    measured = commit()
    failed = [name for name in names if not measure(name, measured)]
    readings = [json.loads(file.read_text(encoding="utf-8")) for name in known if (file := reading_of(name)).exists()]
    old = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    kept = KEPT + old.partition(KEPT)[2] if KEPT in old else KEPT + "\n"
    TARGET.write_text(
        "\n".join([*heading(), *bars(readings), *growth(readings), *tables(readings), kept]), encoding="utf-8"
    )
    print(f"written: {TARGET}")
    if failed:
        sys.exit(f"no reading of: {', '.join(failed)}")


def reading_of(name: str) -> Path:
    """Where the latest reading of a benchmark is kept."""
    return READINGS / f"{name.replace(' ', '-')}.json"


def measure(name: str, measured: str) -> bool:
    """Run one benchmark and keep what it reports; False where it failed, its own words being on standard error.

    Args:
        measured: the commit.
    """
    print(f"--- {name}", file=sys.stderr, flush=True)
    before = os.getloadavg()[1]
    done = subprocess.run(
        [sys.executable, "-m", *f"bench.{name}".split()], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        return False
    report = json.loads(done.stdout.splitlines()[-1])
    reading = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": measured, "machine": machine(),
        "load_before": round(before, 1), **report,
    }  # fmt: skip
    READINGS.mkdir(exist_ok=True)
    reading_of(name).write_text(json.dumps(reading, indent=1) + "\n", encoding="utf-8")
    return True


def commit() -> str:
    """The commit, `+` where files other than what is written here had changed since; nothing outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], stderr=subprocess.DEVNULL, text=True).strip()

    try:
        changed = git("status", "--porcelain", "--", ".", f":!{READINGS}", f":!{TARGET}")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> str:
    """Processor, cores, memory and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used, {memory:.0f} GiB, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def heading() -> list[str]:
    """How it was measured."""
    return [
        "# Benchmarks",
        "",
        "Written by `make bench` from `bench/readings/`; `python -m bench graph` measures one anew.",
        "Ratios come from calls that took turns in one process. Seconds depend on the machine and on its other work;",
        "beside each stands the machine's load in the five minutes before.",
        "`bench/measure.py` is the method, `bench/plain.py` the plain form. `bench/workload.py` makes the inputs:",
        "power-law degrees, seed 0. Trainings have the softmax as their loss, so they compute scores.",
        "The default, the squared error, does not need them.",
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
    for stage in grown[0]:
        if not all(stage in stages for stages in grown):
            continue  # of a reading that was made before the stage was measured
        cells = [f"{grown[0][stage]:.2f}"]
        for before, after in pairwise(grown):
            cells += [f"{math.log10(after[stage] / before[stage]):.2f}", f"{after[stage]:.2f}"]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return [*lines, ""]


def tables(reports: list[dict[str, Any]]) -> list[str]:
    """A table a benchmark."""
    lines = []
    for report in reports:
        rows = [f"| {row['what']} | {row['value']} | {row['note']} |" for row in report["rows"]]
        commit = f", {report['commit']}" if report.get("commit") else ""
        when = f"{report['date']}{commit}; {report['machine']}; load before {report['load_before']}."
        title = report["title"][:1].upper() + report["title"][1:]
        lines += [f"## {title}", "", when, "", "| | | |", "|---|---|---|", *rows, ""]
    return lines


if __name__ == "__main__":
    main()
