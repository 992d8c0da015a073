"""Which nights must stay, and why: the champion and those before it, nights in use, and nights that others refer to."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.config.config import Config
from pipeline.documents import as_record
from pipeline.errors import StoreError
from pipeline.registry.champion import Champion, read_champion
from pipeline.registry.predecessor import PREDECESSOR, Predecessor
from pipeline.storage.files import read_json
from pipeline.storage.layout import Store
from pipeline.upkeep.inventory import Inventory, Night

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is kept besides what must be."""

    keep: int
    """Newest releases."""
    keep_days: float
    """After the last sign of life."""
    patience: timedelta
    """How long an unfinished run may rest and still be in use: an operator's approval may come so late."""
    now: datetime


def rules(config: Config, keep: int, keep_days: float, now: datetime) -> Rules:
    """The rules of one call."""
    patience = timedelta(days=config.airflow.approval_days) + ONE_DAY
    return Rules(keep=keep, keep_days=keep_days, patience=patience, now=now)


def reasons(store: Store, config: Config, aliased: dict[str, str], inventory: Inventory, rule: Rules) -> dict[str, str]:
    """Run id to why it must stay, the weightiest reason of each.

    Args: aliased: run id to the alias in the registry that names it.
    """
    needed: dict[str, str] = {}
    for run_id, reason in (
        *_champions(read_champion(store)),
        *((run_id, f"alias {alias} in the registry") for run_id, alias in aliased.items()),
        *_in_use(store, inventory, rule),
        (config.train.warm_start, "train.warm_start names it"),
        *_newest(inventory, rule),
    ):
        needed.setdefault(run_id, reason)
    return needed


def champions(store: Store) -> set[str]:
    """The champion of now and all that stand in its history."""
    return {run_id for run_id, _ in _champions(read_champion(store))}


def _champions(champion: Champion | None) -> Iterator[tuple[str, str]]:
    if champion is None:
        return
    yield champion.run_id, f"the champion{', held' if champion.held else ''}"
    former = champion.previous
    while former:
        yield former.run_id, "a champion before"
        former = former.previous
    for event in champion.history:
        yield event.run_id, "in champion history"


def is_in_use(night: Night, rule: Rules) -> bool:
    """Whether a run is in progress, waits for an approval, or has just ended and may still be promoted."""
    if night.is_being_removed:
        return False
    return rule.now - night.modified < (ONE_DAY if night.is_finished else rule.patience)


def _in_use(store: Store, inventory: Inventory, rule: Rules) -> Iterator[tuple[str, str]]:
    for night in inventory.nights.values():
        if not is_in_use(night, rule):
            continue
        yield night.id, "has just ended" if night.is_finished else "in progress"
        for name in night.run.stored:
            if name.rpartition("/")[2] == PREDECESSOR:
                before = _predecessor(store, night.id, name)
                yield before or "", f"run {night.id} stands on it"
        yield from _named_by(store, night)


def _predecessor(store: Store, run_id: str, name: str) -> str | None:
    file = store.run(run_id) / name
    try:
        return as_record(Predecessor, read_json(file), file).run_id
    except (FileNotFoundError, StoreError):  # a damaged run says so when it goes on
        return None


def _named_by(store: Store, night: Night) -> Iterator[tuple[str, str]]:
    """Runs that the configuration of a run in progress names."""
    try:
        train = read_json(store.run_record(night.id))["train"]
        yield str(train["warm_start"]), f"run {night.id} starts from it"
    except (FileNotFoundError, StoreError, LookupError, TypeError):
        return


def _newest(inventory: Inventory, rule: Rules) -> Iterator[tuple[str, str]]:
    nights = [night for night in inventory.nights.values() if not night.is_being_removed]
    released = [night for night in nights if night.release.stored]
    for night in sorted(released, key=lambda one: one.release.modified, reverse=True)[: rule.keep]:
        yield night.id, f"of the {rule.keep} newest releases"
    for night in nights:
        if rule.now - night.modified < timedelta(days=rule.keep_days):
            yield night.id, f"used within {rule.keep_days:g} days"
