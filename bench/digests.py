"""What digests add to a night: nights with and without them, in pairs, each after a first one that extracts.

`python -m bench.digests -c microrec.toml`; without a configuration a sample of its own. Without digests the sha256 of a
file, a feature part and a checkpoint is a constant, and nothing else of a night differs. Each side has a store of its
own. Measure on an idle machine: the ratio of two nights wanders with whatever else there is.
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.measure import Report, ratio, seconds, show

LIMIT = 1.03
WITHOUT = """
import pipeline.storage.files
pipeline.storage.files.file_sha256 = lambda path: "0" * 64  # before others take it from there
import pipeline.dataset.feature_store, pipeline.stages.checkpoint
pipeline.dataset.feature_store._digest = lambda table: b"0" * 64
pipeline.stages.checkpoint._digest = lambda words, tensors: "0" * 64
"""
"""What a night does first that is to have no digests."""
NIGHT = "from pipeline.cli import main; main()"
SIDES = {"with": NIGHT, "without": WITHOUT + NIGHT}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", type=Path, help="of the catalogue; its store is left alone")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], help="section.key=value, of both sides")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="digests-") as name:
        measure(asked.config or _sample(Path(name)), Path(name), asked.pairs, asked.set)


def measure(config: Path, folder: Path, pairs: int, overrides: list[str]) -> None:
    """Nights in turn, the first of each side not counted; print the report.

    Args: folder: for the stores, empty.
    """
    report = Report("digests of a night")
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(pairs + 1):
        order = list(SIDES) if number % 2 else list(SIDES)[::-1]
        for side in order:
            taken[side].append(seconds(partial(_night, side, f"night-{number}", config, folder, overrides)))
    counted = {side: times[1:] for side, times in taken.items()}
    for side, times in counted.items():
        report.row(f"{side} digests", show(times), f"the first night, which extracts: {taken[side][0]:.3g} s")
    pair = [one / other for one, other in zip(counted["with"], counted["without"], strict=True)]
    added = ratio(counted["with"], counted["without"])
    told = f"{added - 1:+.1%} ({min(pair) - 1:+.1%} to {max(pair) - 1:+.1%}), {pairs} pairs"
    report.bar("digests add under 3 % to a night, median of pairs", told, added < LIMIT)
    report.finish()


def _night(side: str, run_id: str, config: Path, folder: Path, overrides: list[str]) -> None:
    """Raises `subprocess.CalledProcessError` for a night that does not end well."""
    settings = [part for one in (*overrides, f"store.root={folder / side}") for part in ("--set", one)]
    command = [sys.executable, "-c", SIDES[side], "run", "--run-id", run_id, "-c", str(config), *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _sample(folder: Path) -> Path:
    """The configuration of a small catalogue with pictures."""
    from pipeline.sample import write_sample

    write_sample(folder / "sample", num_items=400, num_users=400, seed=0)
    return folder / "sample" / "microrec.toml"


if __name__ == "__main__":
    main()
