"""Several at once: two nights with one id, promotions, readers beside who moves the champion; a held database."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from bench.faults.child import FORKED, Said
from bench.faults.shop import FINISHED, FIRST, SECOND, Shop
from bench.faults.stops import Stop, continued, told_once

HELD = 20.0
"""Seconds for which a database is held: longer than SQLite's own patience."""


def twice(shop: Shop, seed: int, turn: int) -> Stop:
    """Two nights with one id, the second some seconds later; each ends well or says why not, and there is one model."""
    after, store = float(np.random.default_rng([seed, 8, turn]).uniform(0, FORKED)), shop.copy("validate")
    first = shop.start(store)
    time.sleep(after)
    second = shop.start(store)
    wrong = [told_once(said, (1, 2)) for said in (first.end(), second.end()) if said.status]
    when = f"the second {after:.1f} s later"
    return Stop(what="two nights with one id", when=when, wrong="".join(wrong) or continued(shop, store))


def promotions(shop: Shop, seed: int, turn: int) -> Stop:
    """Two promotions at once: one stands afterwards, and the registry and `champion.json` agree which."""
    store = shop.copy(FINISHED)
    children = [shop.start(store, version, "--force", name="promote") for version in ("1", "2")]
    ended = [child.end() for child in children]
    wrong = "".join(told_once(said, (1, 2)) for said in ended if said.status)
    if all(said.status for said in ended):
        wrong = wrong or "neither was done"
    return Stop(what="promotions at once", when=f"turn {turn}", wrong=wrong or _champion_is_sound(shop, store))


def readers(shop: Shop, seed: int, turn: int) -> list[Stop]:
    """A reader in a loop beside promotion, rollback and `gc`: every answer is one of the releases'."""
    store = shop.copy(FINISHED)
    user, answers = shop.user, {_list(shop, store, run_id) for run_id in (FIRST, SECOND)}
    seen = []
    for name, more in (("promote", ("1", "--force")), ("rollback", ()), ("gc", ("--apply",))):
        child = shop.start(store, *more, name=name)
        asked, wrong = 0, ""
        while child.alive() or not asked:
            said = shop.microrec(store, "recommend", "--user", user, "--json")
            asked += 1
            if said.status or _items(said.out) not in answers:
                wrong = wrong or f"status {said.status}: {said.out[-200:]} {said.err[-400:]}"
        ended = child.end()
        if ended.status:
            wrong = wrong or f"{name}: status {ended.status}: {ended.err[-400:]}"
        seen.append(Stop(what="readers in a loop", when=f"beside {name}, {asked} answers", wrong=wrong))
    return seen


def held_database(shop: Shop, seed: int, turn: int) -> Stop:
    """Somebody holds MLflow's database for a while, from some second of the night on."""
    after, store = float(np.random.default_rng([seed, 9, turn]).uniform(0, FORKED / 2)), shop.copy("export")
    child = shop.start(store)
    holder = threading.Thread(target=_hold, args=(store / "mlflow.db", after))
    holder.start()
    said = child.end()
    holder.join()
    wrong = told_once(said, (1,)) if said.status else ""
    return Stop(what="a database that is held", when=f"after {after:.1f} s", wrong=wrong or continued(shop, store))


def _hold(database: Path, after: float) -> None:
    time.sleep(after)
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(HELD)
        connection.execute("ROLLBACK")


def _list(shop: Shop, store: Path, run_id: str) -> str:
    return _items(shop.microrec(store, "recommend", "--user", shop.user, "--release", run_id, "--json").out)


def _items(answer: str) -> str:
    """The items of an answer, in their order; what it says beside them may name the champion."""
    try:
        found = json.loads(answer)
    except ValueError:
        return answer
    rows = found if isinstance(found, list) else next(value for value in found.values() if isinstance(value, list))
    return " ".join(str(row["item_id"]) for row in rows)


def _champion_is_sound(shop: Shop, store: Path) -> str:
    """What is wrong with the champion and the releases; `verify` holds registry and files against each other."""
    for run_id in (FIRST, SECOND):
        verified: Said = shop.microrec(store, "verify", run_id)
        if verified.status:
            return f"does not verify: {verified.err[-600:]}"
    asked = shop.microrec(store, "champion", "--json")
    return "" if asked.status == 0 else f"champion: {asked.err[-600:]}"
