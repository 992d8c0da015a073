"""The registered model at 200,000 items, 500,000 users and 64 columns: users a second, and the memory of four workers.

    python -m bench.serving

A worker is a process that loads the model and answers once. What a release adds to it is its proportional set size
(PSS: shared pages counted in parts) less that of a worker with a small release, which has the same buffers.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.measure import Report, seconds
from pipeline.release.fold_in import FoldIn
from pipeline.release.served import Served
from pipeline.serving.champion import open_ranker

NUM_ITEMS, NUM_USERS, DIM, PER_USER = 200_000, 500_000, 64, 20
BATCH, ROUNDS, WORKERS = 2048, 5, 4
USERS_A_SECOND, MOST_FOR_FOUR = 2000, 1.3
WORKER = "worker"
SMALL = 16_384
"""Items and users of the small release."""


def make_served(folder: Path, num_items: int, num_users: int) -> None:
    """Random vectors and what each user has."""
    rng = np.random.default_rng(0)
    item_ID = rng.normal(size=(num_items, DIM)).astype(np.float32)
    user_P = np.repeat(np.arange(num_users), PER_USER)
    served = Served(
        user_id=pa.array([f"user-{row:07}" for row in range(num_users)]),
        user_UD=rng.normal(size=(num_users, DIM)).astype(np.float32),
        item_id=pa.array([f"item-{row:07}" for row in range(num_items)]),
        item_ID=item_ID,
        user_P=user_P,
        item_P=rng.integers(0, num_items, len(user_P)),
        fold_in=FoldIn.of(item_ID, num_users, len(user_P)),
        about={},
    )
    folder.mkdir()
    served.write(folder)


def questions(num_users: int) -> pd.DataFrame:
    """A batch of users, drawn."""
    rows = np.random.default_rng(1).integers(0, num_users, BATCH)
    return pd.DataFrame({"user_id": [f"user-{row:07}" for row in rows]})


def work(folder: Path, num_users: int) -> None:
    """Be a worker: answer, say so, stay until told to go."""
    model = open_ranker(folder)
    model.predict(None, questions(num_users))
    print("ready", flush=True)
    sys.stdin.readline()
    del model  # only now are its files unmapped


def proportional_set(count: int, folder: Path, num_users: int) -> int:
    """PSS in bytes of so many workers on one release together."""
    command = [sys.executable, "-m", "bench.serving", WORKER, str(folder), str(num_users)]
    with ExitStack() as stack:
        workers = []
        for _ in range(count):
            worker = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(worker.kill)
            assert worker.stdout is not None
            if worker.stdout.readline() != "ready\n":
                raise RuntimeError("a worker did not answer")
            workers.append(worker)
        rollups = [Path(f"/proc/{worker.pid}/smaps_rollup").read_text(encoding="ascii") for worker in workers]
    lines = [next(line for line in text.splitlines() if line.startswith("Pss:")) for text in rollups]
    return sum(int(line.split()[1]) * 1024 for line in lines)


def measure_memory(report: Report, root: Path, num_users: int, workers: int = WORKERS) -> None:
    """What `root/release` adds to workers, beside `root/small`; to be asked before it is mapped here, too."""
    added = {}
    for count in (1, workers):
        whole = proportional_set(count, root / "release", num_users)
        added[count] = whole - proportional_set(count, root / "small", SMALL)
        value, note = f"{whole / 1e6:,.0f} MB", f"{added[count] / 1e6:,.0f} MB of it the release"
        report.row(f"{count} worker{'s' if count > 1 else ''}", value, note)
    share = added[workers] / added[1]
    text = f"a release in {workers} workers takes at most {MOST_FOR_FOUR} x one's"
    report.bar(text, f"{share:.2f} x", share <= MOST_FOR_FOUR)


def measure_speed(report: Report, folder: Path, num_items: int, num_users: int) -> None:
    """Users a second, in batches of several sizes."""
    model, asked = open_ranker(folder), questions(num_users)
    model.predict(None, asked)
    for size in (1, 32, BATCH):
        processor, times = time.process_time(), []
        for _ in range(ROUNDS):
            times.append(seconds(lambda size=size: model.predict(None, asked.head(size))))  # type: ignore[misc]
        rate, each = size / min(times), (time.process_time() - processor) / ROUNDS
        note = f"median {statistics.median(times) * 1000:.1f} ms, {each * 1000:.1f} ms of processor time"
        report.row(f"batch of {size}", f"{rate:,.0f} users/s", note)
    text = f"{USERS_A_SECOND:,} users/s at {num_items:,} items x {DIM}"
    report.bar(text, f"{rate:,.0f} users/s", rate >= USERS_A_SECOND)


def main() -> None:
    """Measure, or be a worker."""
    if sys.argv[1:2] == [WORKER]:
        work(Path(sys.argv[2]), int(sys.argv[3]))
        return
    report = Report(f"serving: {NUM_ITEMS:,} items, {NUM_USERS:,} users, {DIM} columns")
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        root = Path(folder)
        make_served(root / "release", NUM_ITEMS, NUM_USERS)
        make_served(root / "small", SMALL, SMALL)
        measure_memory(report, root, NUM_USERS)
        measure_speed(report, root / "release", NUM_ITEMS, NUM_USERS)
    report.finish()


if __name__ == "__main__":
    main()
