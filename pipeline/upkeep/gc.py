"""`microrec gc`: what can go, and how much room that gives; `apply` removes it (docs/decisions/0037-gc.md)."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline.config.config import Config
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.disposal import Registered, aliases, artifact_bytes, registered_versions
from pipeline.registry.tracking import Tracking
from pipeline.release.manifest import MANIFEST, manifest_of
from pipeline.release.signature import read_public_keys
from pipeline.storage.layout import Store
from pipeline.upkeep.inventory import Files, Inventory, Night, take_inventory
from pipeline.upkeep.needed import ONE_DAY, Rules, reasons, rules
from pipeline.upkeep.sweep import Sweep
from pipeline.upkeep.unused import unused_parts, why_none

KEEP, KEEP_DAYS = 7, 30.0
KINDS = ("version", "increments", "release", "run", "checkpoints", "features")
VERSION, INCREMENTS, RELEASE, RUN, CHECKPOINTS, FEATURES = KINDS


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that can go."""

    kind: str
    """One of `KINDS`."""
    name: str
    bytes: int
    removed: bool = False


@dataclass(frozen=True, kw_only=True)
class Stays:
    """A night that must stay."""

    run_id: str
    bytes: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What `gc` tells."""

    applied: bool
    bytes: int
    """Room that what can go takes; with `applied`, that what has gone took."""
    items: list[Item]
    kept: list[Stays]
    notes: list[str]
    """What stays for a reason of the moment."""


def collect(
    config: Config,
    reporter: Reporter,
    *,
    keep: int = KEEP,
    keep_days: float = KEEP_DAYS,
    apply: bool = False,
    now: datetime | None = None,
) -> Collected:
    """Say what can go, and with `apply` remove it.

    Args:
        keep: newest releases that stay in any case.
        keep_days: days after its last sign of life for which anything stays.
        now: the moment that ages are counted from.

    Raises `InputError` for a number below 0, `StoreError` for a record that is damaged, and what MLflow raises where it
    does not answer: what its aliases refer to is not known then.
    """
    if keep < 0 or keep_days < 0:
        raise InputError(f"--keep {keep} --keep-days {keep_days:g}: neither may be below 0")
    store, tracking = config.open_store(), config.open_tracking()
    rule = rules(config, keep, keep_days, now or datetime.now(UTC))
    inventory, versions = take_inventory(store), registered_versions(tracking)
    needed = reasons(store, config, _aliased(tracking, versions), inventory, rule)
    sweep = Sweep(store, tracking, reporter, inventory, read_public_keys(config.public_keys))
    items = _nights(store, tracking, sweep, needed, versions, apply=apply)
    items += _outdated_increments(sweep, needed, rule, apply=apply)
    waiting = why_none(inventory, rule)
    for unused in [] if waiting else unused_parts(store, config, inventory, set(needed), rule, reporter):
        name = "/".join(unused.key) + ("" if unused.whole else f": {len(unused.parts.stored)} parts")
        gone = apply and sweep.remove_features(unused)
        items.append(Item(kind=FEATURES, name=name, bytes=unused.parts.size, removed=gone))
    return Collected(
        applied=apply,
        bytes=sum(item.bytes for item in items if item.removed or not apply),
        items=items,
        kept=_kept(inventory, needed),
        notes=[*sweep.notes, *([waiting] if waiting else [])],
    )


def _kept(inventory: Inventory, needed: dict[str, str]) -> list[Stays]:
    nights = [night for night in inventory.nights.values() if night.id in needed]
    return [Stays(run_id=one.id, bytes=one.size, reason=needed[one.id]) for one in nights]


def _aliased(tracking: Tracking, versions: list[Registered]) -> dict[str, str]:
    named = aliases(tracking)
    keys = {(one.model_name, one.version): one.run_id for one in versions}
    return {run_id: named[key] for key, run_id in keys.items() if run_id and key in named}


def _nights(
    store: Store,
    tracking: Tracking,
    sweep: Sweep,
    needed: dict[str, str],
    versions: list[Registered],
    *,
    apply: bool,
) -> list[Item]:
    """What can go of each night; of one that stays, the checkpoints of a training that is done."""
    items: list[Item] = []
    for night in sweep.inventory.nights.values():
        if night.id in needed:
            outdated = night.outdated_checkpoints()
            if outdated.stored:
                gone = apply and sweep.remove_checkpoints(night, outdated)
                items.append(Item(kind=CHECKPOINTS, name=night.id, bytes=outdated.size, removed=gone))
            continue
        own = _versions_of(store, night, versions)
        found = [
            *(
                Item(kind=VERSION, name=f"{one.model_name} {one.version}", bytes=artifact_bytes(tracking, one))
                for one in own
            ),
            *_item(INCREMENTS, night.id, night.increments),
            *_item(RELEASE, night.id, night.release),
            *_item(RUN, night.id, night.run),
        ]
        gone = apply and sweep.remove_night(night, own)
        items += [replace(item, removed=gone) for item in found]
    return items


def _outdated_increments(sweep: Sweep, needed: dict[str, str], rule: Rules, *, apply: bool) -> list[Item]:
    """Of the nights that stay, increments that another has replaced a day ago, unless that one is damaged."""
    items = []
    for night in sweep.inventory.nights.values():
        outdated = night.outdated_increments(rule.now - ONE_DAY) if night.id in needed else Files()
        if outdated.stored and not sweep.must_leave_increments(night):
            gone = apply and sweep.remove_increments(night, outdated)
            items.append(Item(kind=INCREMENTS, name=f"{night.id}: earlier ones", bytes=outdated.size, removed=gone))
    return items


def _item(kind: str, name: str, files: Files) -> list[Item]:
    return [Item(kind=kind, name=name, bytes=files.size)] if files.stored else []


def _versions_of(store: Store, night: Night, versions: list[Registered]) -> list[Registered]:
    """Versions of this store's release: another store may have used the id in the same registry."""
    own = [one for one in versions if one.run_id == night.id]
    if not own or MANIFEST not in night.release.stored:
        return []
    digest = manifest_of(store.release(night.id)).release_digest
    return [one for one in own if one.digest == digest]
