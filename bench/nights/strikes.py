"""What happens to a night while it runs."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from bench.nights.catalogue import Growing, Tables
from pipeline.columns import ITEM_ID

FAILING_SECONDS = 10.0
LOCKED_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A night that runs."""

    process: subprocess.Popen[str]
    again: Callable[[], int]
    """Start the same command beside it; its exit status."""
    shop: Growing
    night: int
    tables: Tables
    """Its input."""
    fault: Path
    """While this file is there, its disk fails."""
    database: Path
    """MLflow's."""
    rng: np.random.Generator


Strike = Callable[[Scene], str]
"""Says what it saw that the exit status of the night does not tell."""


def kill(scene: Scene) -> str:
    """The power goes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(scene.process.pid, signal.SIGKILL)
    return ""


def fail_disk(scene: Scene) -> str:
    """The disk of the store fails for some seconds."""
    scene.fault.touch()
    time.sleep(FAILING_SECONDS)
    scene.fault.unlink()
    return ""


def lock_database(scene: Scene) -> str:
    """Another program keeps MLflow's database to itself."""
    with contextlib.closing(sqlite3.connect(scene.database, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(LOCKED_SECONDS)
        connection.execute("ROLLBACK")
    return ""


def run_twice(scene: Scene) -> str:
    """An orchestrator that has lost sight of the night starts it once more."""
    return f"the second: {scene.again()}"


def export_newer(scene: Scene) -> str:
    """The next export comes."""
    scene.shop.write(scene.shop.at(scene.night + 0.5))
    return ""


def export_half(scene: Scene) -> str:
    """The next export comes and has half of the items."""
    items = scene.tables.items
    kept = scene.rng.permutation(items[ITEM_ID].to_numpy())[: len(items) // 2]
    scene.shop.write(Tables(items.filter(pl.col(ITEM_ID).is_in(kept.tolist())), scene.tables.interactions))
    return ""
