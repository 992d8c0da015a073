"""A night that is ended from outside, at the end of a stage or at some moment, and continued."""

import json
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.faults.child import Child, Said
from bench.faults.shop import FINISHED, SECOND, Shop

AFTER = """
import os
from pipeline.stages import order
plain = order.do_stage

def do_stage(run, stage):
    result = plain(run, stage)
    if stage.name == {stage!r}:
        os.kill(os.getpid(), {number})
    return result

order.do_stage = do_stage
"""
"""What a night does that is to be ended right after a stage is committed."""
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{what}, ({value}, {value}))"
"""A limit of the system's, which the process sets itself."""
STATUS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGINT: 130}
SAYS = {signal.SIGKILL: "", signal.SIGTERM: "SIGTERM", signal.SIGINT: "continue with --run-id"}


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One, and whether all was right afterwards."""

    what: str
    when: str
    wrong: str = ""


def stop_after(shop: Shop, number: signal.Signals, stage: str) -> Stop:
    """End a night at the end of a stage."""
    store = shop.copy("validate")
    child = shop.start(store, program=AFTER.format(stage=stage, number=int(number)))
    return _judged(shop, store, number, f"after {stage}", child.end())


def whole_night(shop: Shop, *, anew: bool) -> float:
    """Seconds that a night takes which nobody ends."""
    store = shop.copy("validate")
    shop.start(store, name="champion", anew=anew).end()  # the first fork waits for what is loaded once
    begun = time.monotonic()
    shop.start(store, anew=anew).end()
    return time.monotonic() - begun


def is_anew(number: signal.Signals) -> bool:
    """Whether the night that is sent a signal begins in a new interpreter: SIGKILL asks it nothing."""
    return number != signal.SIGKILL


def stop_at(shop: Shop, number: signal.Signals, whole: float, seed: int, turn: int) -> Stop:
    """End a night at some moment of the `whole` seconds that it takes.

    What a process does about a signal while it loads its modules is tried, too.
    """
    seconds, store = float(np.random.default_rng([seed, 2, int(number), turn]).uniform(0, whole)), shop.copy("validate")
    child = shop.start(store, anew=is_anew(number))
    return _judged(shop, store, number, f"after {seconds / whole:.0%} of the time", _end(child, number, seconds))


def limit_files(shop: Shop, seed: int, turn: int) -> Stop:
    """A disk that takes no file beyond some size, as a full one does; then there is room again."""
    size = int(10 ** np.random.default_rng([seed, 3, turn]).uniform(2.5, 5.5))
    store = shop.copy("validate")
    said = shop.start(store, program=LIMIT.format(what="FSIZE", value=size)).end()
    wrong = "" if said.status == 0 else told_once(said, (1, 2)) or left_behind(store)
    return Stop(what="no room", when=f"{size} bytes", wrong=wrong or continued(shop, store))


def _end(child: Child, number: signal.Signals, seconds: float) -> Said:
    time.sleep(seconds)
    child.send(number)
    return child.end()


def _judged(shop: Shop, store: Path, number: signal.Signals, when: str, said: Said) -> Stop:
    wrong = ""
    over = bool(said.out)  # the result is told, and Python was about to end
    if said.status != 0 and number != signal.SIGKILL and not over and said.err:  # and it had begun
        wrong = _ended(said, (STATUS[number],), SAYS[number]) or left_behind(store)
    return Stop(what=number.name, when=when, wrong=wrong or continued(shop, store))


def _ended(said: Said, statuses: tuple[int, ...], words: str) -> str:
    if said.status in statuses and words in said.err and "Traceback" not in said.err:
        return ""
    return f"status {said.status}: {said.err[-600:]}"


def told_once(said: Said, statuses: tuple[int, ...]) -> str:
    """What is wrong with how a command ended that could not go on: one of some statuses, and one message."""
    if said.status in statuses and said.message:
        return ""
    return f"status {said.status}: {said.err[-600:]}"


def left_behind(store: Path) -> str:
    """Scratch folders that nobody works in any more."""
    left = [str(path.relative_to(store)) for path in store.rglob(".*") if path.is_dir()]
    return f"left behind: {', '.join(left)}" if left else ""


def versions(store: Path) -> int:
    """How many versions of models are registered."""
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        return int(database.execute("SELECT count(*) FROM model_versions").fetchone()[0])


def continued(shop: Shop, store: Path) -> str:
    """What is wrong with the night when it has been continued."""
    said, result = shop.finish(store)
    if said.status:
        return f"does not continue: {said.err[-600:]}"
    if result != shop.undisturbed:
        return f"another result: {json.dumps(result)}"
    verified = shop.microrec(store, "verify", SECOND)
    models, wanted = map(versions, (store, shop.snapshot(FINISHED)))
    if models != wanted:
        return f"{models} versions are registered, not {wanted}"
    return "" if verified.status == 0 else f"does not verify: {verified.err[-600:]}"
