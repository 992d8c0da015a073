"""Who uses a run and the features, and what is being removed: how a night and `gc` keep out of each other's way.

A run that is opened signs first, then looks for a claim. `gc` claims first, then looks for a signature. The one that
comes second sees the other, on a disk and in an object store.
"""

import time
import uuid
from datetime import UTC, datetime

from upath import UPath

from pipeline.errors import MicrorecError
from pipeline.progress import Reporter
from pipeline.storage.files import publish_bytes, read_bytes
from pipeline.storage.layout import Store
from pipeline.storage.listing import remove_file

OPENED, REMOVING = "opened", "removing"
CLAIM_SECONDS = 600
"""After these a claim on the features is that of a `gc` that died."""
PAUSE = 0.5


def enter(store: Store, run_id: str, reporter: Reporter) -> None:
    """Sign that a run is in use; wait while unused features are being removed.

    Raises `MicrorecError` where the run itself is being removed.
    """
    folder = store.run(run_id)
    publish_bytes(folder / OPENED, uuid.uuid4().hex.encode())
    if (folder / REMOVING).exists():
        raise MicrorecError(f"run {run_id} is being removed by `microrec gc`; use a new run id")
    claim, told = store.root / "features" / REMOVING, False
    while _is_claimed(claim):
        if not told:
            reporter.say("unused features are being removed by `microrec gc`; waiting")
        told = True
        time.sleep(PAUSE)


def claim(folder: UPath) -> UPath:
    """Say that a folder, or what nobody uses in it, is about to be removed; the file that says so."""
    file = folder / REMOVING
    publish_bytes(file, datetime.now(UTC).isoformat().encode())
    return file


def withdraw(file: UPath) -> None:
    """Say that it is not, or is done."""
    remove_file(file)


def _is_claimed(file: UPath) -> bool:
    try:
        since = datetime.fromisoformat(read_bytes(file).decode())
    except FileNotFoundError:
        return False
    return (datetime.now(UTC) - since).total_seconds() < CLAIM_SECONDS
