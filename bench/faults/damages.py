"""Damages: one file of a store is flipped, cut, emptied or gone, and the night goes on."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.faults.child import STAGES, Said
from bench.faults.shop import FINISHED, FIRST, SECOND, TRAINING, Shop

NAMED, UNHARMED, WRONG = "named", "unharmed", "wrong"
MOMENTS = (*STAGES[:3], TRAINING, *STAGES[3:], FINISHED)
LEFT_OUT = ("mlflow.db", "mlflow.lock", ".lock")
"""A database has its own protection, or none: not ours."""
MANY = ("mlartifacts", "features")
"""Folders with more kinds of files than the rest of the store: here the ending is the kind."""


def _flip(file: Path, rng: np.random.Generator) -> None:
    payload = bytearray(file.read_bytes())
    payload[rng.integers(len(payload))] ^= 1 << int(rng.integers(8))
    file.write_bytes(bytes(payload))


def _cut(file: Path, rng: np.random.Generator) -> None:
    file.write_bytes(file.read_bytes()[: int(rng.integers(1, max(2, file.stat().st_size)))])


def _empty(file: Path, rng: np.random.Generator) -> None:
    file.write_bytes(b"")


def _lose(file: Path, rng: np.random.Generator) -> None:
    file.unlink()


KINDS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "flipped": _flip,
    "cut": _cut,
    "emptied": _empty,
    "gone": _lose,
}


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One, and what came of it."""

    moment: str
    file: str
    kind: str
    seen: str
    said: str = ""


@dataclass
class Tally:
    """What came of many."""

    seen: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[Damage] = field(default_factory=list)

    def add(self, damage: Damage) -> None:
        """Count one."""
        self.seen.setdefault(damage.kind, Counter())[damage.seen] += 1
        if damage.seen == WRONG:
            self.wrong.append(damage)


def damage_one(shop: Shop, seed: int, number: int) -> Damage:
    """The so-manieth damage: moment by moment in turn, a kind of file first, then one of its files."""
    rng = np.random.default_rng([seed, 1, number])
    moment = MOMENTS[number % len(MOMENTS)]
    store = shop.copy(moment)
    files = _by_kind(store)
    kinds = sorted(files)
    file = str(rng.choice(files[kinds[rng.integers(len(kinds))]]))
    kind = str(rng.choice(sorted(KINDS))) if (store / file).stat().st_size else "gone"
    KINDS[kind](store / file, rng)
    return _go_on(shop, store, Damage(moment=moment, file=file, kind=kind, seen=UNHARMED))


def _by_kind(store: Path) -> dict[str, list[str]]:
    """Files by what they are: the same of several parts or models is one kind; the night's own before another's."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(store.rglob("*")):
        if path.is_file() and path.name not in LEFT_OUT:
            name = path.relative_to(store)
            kind = f"{name.parts[0]}/{path.suffix}" if name.parts[0] in MANY else "/".join(_plain(name))
            kinds.setdefault(kind, []).append(str(name))
    own = f"/{SECOND}/"
    return {kind: [one for one in names if own in one] or names for kind, names in kinds.items()}


def _plain(name: Path) -> list[str]:
    """The parts of a name without the run's, and without a part's number."""
    return [part for part in (name.parts[0], *name.parts[2:]) if not part.startswith("part-")]


def _go_on(shop: Shop, store: Path, damage: Damage) -> Damage:
    """Finish the night, check the releases, ask and embed: each is as without the damage, or names what is damaged."""
    said, result = shop.finish(store)
    if said.status:
        return _judged(damage, said)
    is_told = any(one in said.err for one in _names(damage))
    cold = next((one for one in shop.cold if is_told and one["result"] == result), None)
    if result != shop.undisturbed and not cold:
        return _seen(damage, WRONG, f"another result: {result}")
    for run_id in (SECOND, FIRST):
        verified = shop.microrec(store, "verify", run_id)
        if verified.status:
            return _judged(damage, verified)
    listed, embedded = shop.recommend(store), shop.embed(store)
    if listed.status or embedded.status:
        return _judged(damage, listed if listed.status else embedded)
    if listed.out != (cold["list"] if cold else shop.list):
        return _seen(damage, WRONG, f"another list: {listed.out}")
    return _seen(damage, NAMED, "begins from random parameters, and says why") if cold else damage


def _judged(damage: Damage, said: Said) -> Damage:
    """Whether one message names the file, or the folder that it is the marker of."""
    told = said.status == 2 and any(one in said.message for one in _names(damage))
    return _seen(damage, NAMED if told else WRONG, f"status {said.status}: {said.message or said.err[-600:]}")


def _names(damage: Damage) -> tuple[str, ...]:
    """By which a message may name the file; a marker is named by its folder, too."""
    name = Path(damage.file)
    return (name.name, name.parent.name) if name.name == "_SUCCESS" else (name.name,)


def _seen(damage: Damage, seen: str, said: str) -> Damage:
    return Damage(moment=damage.moment, file=damage.file, kind=damage.kind, seen=seen, said=said)


def as_line(damage: Damage) -> str:
    """For the log."""
    return json.dumps(vars(damage), ensure_ascii=False)
