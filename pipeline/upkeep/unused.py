"""Parts of the feature store that no night which stays refers to."""

from dataclasses import dataclass
from datetime import timedelta

from features.registry import find_encoder
from pipeline import stages
from pipeline.catalogue.precomputed import PRECOMPUTED
from pipeline.config.config import Config
from pipeline.progress import Reporter
from pipeline.run import Run
from pipeline.storage.layout import Store
from pipeline.upkeep.inventory import Files, Inventory
from pipeline.upkeep.needed import Rules, is_in_use

FRESH = timedelta(hours=1)
"""An unfinished run that was alive so lately may begin again, and read its features again."""
Key = tuple[str, str]
"""Modality and encoder key."""


@dataclass(frozen=True, kw_only=True)
class Unused:
    """What of one encoder's features can go."""

    key: Key
    parts: Files
    whole: bool
    """Whether nothing of them stays."""


def why_none(inventory: Inventory, rule: Rules) -> str | None:
    """Why no features can go now: a run may be about to read them; None where none is."""
    for night in inventory.nights.values():
        alive = rule.now - night.modified < FRESH
        if is_in_use(night, rule) and not night.is_finished and (alive or not night.is_prepared):
            return f"features stay: run {night.id} is in progress"
    return None


def unused_parts(
    store: Store, config: Config, inventory: Inventory, needed: set[str], rule: Rules, reporter: Reporter
) -> list[Unused]:
    """Parts that are older than `keep_days` and that no needed run refers to.

    A run of an earlier version has no record of its parts: it refers to all of its encoder's. So does the
    configuration where no run has read its encoder's features yet.

    Raises `StoreError` for a run whose result is damaged.
    """
    parts, whole = _referred_to(store, config, inventory, needed, reporter)
    whole |= {key for key in _configured(config) if key not in parts}
    found = []
    for key, files in inventory.features.items():
        if key in whole:
            continue
        there = {name: one for name, one in files.stored.items() if name.startswith("part-")}
        used, old = parts.get(key, set()), rule.now - timedelta(days=rule.keep_days)
        unused = {name: one for name, one in there.items() if name not in used and one.modified < old}
        if unused:
            found.append(Unused(key=key, parts=Files(unused), whole=len(unused) == len(there)))
    return found


def _referred_to(
    store: Store, config: Config, inventory: Inventory, needed: set[str], reporter: Reporter
) -> tuple[dict[Key, set[str]], set[Key]]:
    """Parts by key, and keys of which a run refers to all."""
    parts: dict[Key, set[str]] = {}
    whole: set[Key] = set()
    for run_id in needed & set(inventory.nights):
        prepared = Run.present(run_id, config, store, reporter).result(stages.PREPARE)
        for modality, encoder in (prepared.encoders if prepared else {}).items():
            key = modality, encoder.key
            if prepared is None or prepared.feature_parts is None:
                whole.add(key)
            else:
                parts.setdefault(key, set()).update(prepared.feature_parts.get(modality, ()))
    return parts, whole


def _configured(config: Config) -> set[Key]:
    return {
        (name, find_encoder(name, modality).key)
        for name, modality in config.modalities.items()
        if modality.encoder != PRECOMPUTED
    }
