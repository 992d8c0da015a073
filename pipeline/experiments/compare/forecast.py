"""What a row will take, said before it is measured, and why it is left out if memory does not suffice.

A skip is a record beside the fits, of this machine and moment: the next `compare` of the run tries again.
"""

from collections.abc import Callable

from upath import UPath

from model.data import TrainingData, resolve_device
from model.memory import predicted_peak
from pipeline.config.config import Config
from pipeline.experiments.compare.contestant import Contestant, folder_name
from pipeline.experiments.compare.cost import GIB, MIB, Cost
from pipeline.experiments.compare.measure import resolved
from pipeline.resources import free_memory_bytes
from pipeline.run import Run
from pipeline.storage.files import read_json, write_json

FOLDER = "compare/skipped"


def forecast(row: Contestant, config: Config, data: TrainingData) -> Cost:
    """Memory and, where it is known before, seconds of one choice."""
    if row.fit is not None:
        return row.cost(data)
    config, _ = resolved(row, row.choices[0], config)
    if resolve_device(config.train.device).type == "cuda":
        return Cost(0)  # its memory runs out, not the machine's
    prediction = predicted_peak(data, config.model, config.train)
    return Cost(prediction.total - prediction.parts.get("features", 0))


def told(row: Contestant, cost: Cost) -> str:
    """The forecast for people."""
    choices = len(row.choices)
    parts = [f"{choices} choice{'s' if choices > 1 else ''}{' and those that a search adds' if row.steps else ''}"]
    if cost.memory_bytes:
        parts.append(f"about {_shown(cost.memory_bytes)} of memory")
    if cost.seconds is not None:
        parts.append(f"about {cost.seconds:.0f} s a choice" if cost.seconds >= 1 else "less than a second a choice")
    return f"{row.name}: {', '.join(parts)}"


def too_large(cost: Cost, free: Callable[[], int | None] = free_memory_bytes) -> str | None:
    """Why a row cannot be measured here; None where it can, or where nobody knows."""
    left = free()
    if left is None or cost.memory_bytes <= left:
        return None
    return f"needs about {_shown(cost.memory_bytes)} of memory, {_shown(left)} are free"


def keep_skip(run: Run, row: Contestant, seed: int, reason: str) -> None:
    """Remember why a row was not measured on a seed."""
    write_json(_record(run, row, seed), {"reason": reason})


def skipped(run: Run, row: Contestant, seed: int) -> str | None:
    """Why a row was not measured on a seed when that was last tried; None where it was not skipped."""
    try:
        return str(read_json(_record(run, row, seed))["reason"])
    except FileNotFoundError:
        return None


def _record(run: Run, row: Contestant, seed: int) -> UPath:
    return run.path / FOLDER / f"{folder_name(row)}-seed-{seed}.json"


def _shown(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / MIB:.0f} MiB"
