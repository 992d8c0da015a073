"""The quality gate, and which release is champion.

Two records name the champion: `<root>/champion.json`, which downstream systems read, and the alias `champion`
in the registry. The file is the truth and moves first, by compare-and-swap: of two promotions at once the one
that comes second starts over and is judged against the new champion. The alias follows. A process killed between
the two leaves the alias behind, and the next promote or rollback begins by moving it to where the file points,
so the two agree again whatever it then decides.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import GateRefusedError, InputError, StoreError
from pipeline.progress import Reporter
from pipeline.storage import Store, as_json, is_complete, parse_json, read_bytes, swap_bytes

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.run import Run
    from pipeline.tracking import ModelVersion, Tracking

NO_GATE = "none"
METRIC = re.compile(r"(recall|precision|ndcg|hit|map|coverage)@(10|20)")
KEPT_BEFORE = 20
"""Champions before the present one that `champion.json` remembers."""

Champion = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """When a release may become champion."""

    metric: str = "recall@20"
    """Validation metric compared with the champion's; "none" switches the gate off."""
    max_regression: float = 0.02
    """Allowed loss relative to the champion: 0.02 lets 98 % of its value pass."""

    def __post_init__(self) -> None:
        if self.metric != NO_GATE and not METRIC.fullmatch(self.metric):
            raise ValueError(f"gate.metric is {self.metric!r}; it is 'none', or a metric such as 'recall@20'")
        if not 0 <= self.max_regression <= 1:
            raise ValueError(f"gate.max_regression is {self.max_regression}; it is a share between 0 and 1")


def promote(config: "Config", version: str, reporter: Reporter, as_of: datetime | None = None) -> dict[str, Any]:
    """Make a registered version the champion; the champion itself again is left as it is.

    `as_of` is the moment the release stands for, with its zone: a champion that stands for a later one stays, so
    that nights may end in any order.

    Raises `InputError` for a version the registry lacks or that belongs to another store, `StoreError` for a
    release that does not verify, `GateRefusedError` when the gate does not let it pass.
    """
    from pipeline.tracking import open_tracking

    store, tracking = config.open_store(), open_tracking(config)
    candidate = _registered(tracking, version)
    while (result := _try_to_promote(config.gate, store, tracking, candidate, as_of, reporter)) is None:
        reporter.say("promote: another promotion came first; starting over")
    return result


def _try_to_promote(
    gate: GateConfig,
    store: Store,
    tracking: "Tracking",
    candidate: "ModelVersion",
    as_of: datetime | None,
    reporter: Reporter,
) -> dict[str, Any] | None:
    """What `promote` returns, or None where the champion was moved meanwhile."""
    from pipeline.verify import verify_release

    champion, found = _agreed_champion(store, tracking, reporter)
    if champion and champion["model_version"] == candidate.version:
        reporter.say(f"promote: {candidate.name} version {candidate.version} is the champion already")
        return _result(champion, changed=False)
    if champion and _stands_for_later(champion, as_of):
        reporter.say(f"promote: the champion stands for {champion['as_of']}, later than {as_of}; it stays")
        return _result(champion, changed=False)
    run_id = _release_of(store, candidate)
    verify_release(store, run_id)
    value = None
    if gate.metric != NO_GATE:
        value = _validation_value(store, run_id, gate.metric)
        _pass_gate(gate, store, run_id, value, champion, reporter)
    record = {
        "release": str(store.release(run_id)),
        "run_id": run_id,
        "digest": candidate.digest,
        "model_name": candidate.name,
        "model_version": candidate.version,
        "metric": None if value is None else gate.metric,
        "value": value,
        "as_of": as_of and as_of.isoformat(),
    }
    return _crown(store, tracking, found, {**record, "previous": _cut(champion, KEPT_BEFORE)}, reporter)


def check_gate(run: "Run", as_of: datetime | None = None) -> dict[str, Any]:
    """Ask the gate about a run that has been evaluated and not yet exported: nothing is moved.

    Raises `InputError` before stage `evaluate`, `GateRefusedError` when the run would not pass.
    """
    evaluated = run.result("evaluate")
    if evaluated is None:
        raise InputError(f"run {run.id} has not been evaluated; run `microrec evaluate --run-id {run.id}` first")
    gate, champion = run.config.gate, read_champion(run.store)
    superseded = champion is not None and _stands_for_later(champion, as_of)
    value = None
    if gate.metric != NO_GATE:
        value = _measured(evaluated["metrics"], run.id, gate.metric)
        if not superseded:
            _pass_gate(gate, run.store, run.id, value, champion, run.reporter)
    return {
        "run_id": run.id,
        "metric": gate.metric,
        "value": value,
        "champion": champion and champion["run_id"],
        "superseded": superseded,
    }


def rollback(config: "Config", reporter: Reporter) -> dict[str, Any]:
    """Make the champion before this one the champion again.

    Raises `InputError` when there is none before it or it was moved meanwhile, `StoreError` when its release
    does not verify.
    """
    from pipeline.tracking import open_tracking
    from pipeline.verify import verify_release

    store, tracking = config.open_store(), open_tracking(config)
    champion, found = _agreed_champion(store, tracking, reporter)
    if champion is None:
        raise InputError(f"nothing to roll back: there is no champion ({store.champion}); promote a version first")
    previous = champion["previous"]
    if previous is None:
        raise InputError(
            f"nothing to roll back to: {champion['model_name']} version {champion['model_version']} "
            f"has no champion before it in {store.champion}"
        )
    _require_same_registry(store, tracking, previous)
    verify_release(store, previous["run_id"])
    result = _crown(store, tracking, found, previous, reporter)
    if result is None:
        raise InputError(f"{store.champion} was changed meanwhile; see which release it names, then roll back again")
    return result


def champion_problems(config: "Config") -> list[str]:
    """Say where `champion.json` and the registry disagree; an empty list where they agree or there is no champion."""
    from pipeline.tracking import open_tracking

    store = config.open_store()
    champion = read_champion(store)
    if champion is None:
        return []
    tracking = open_tracking(config)
    try:
        _require_same_registry(store, tracking, champion)
    except InputError as error:
        return [str(error)]
    alias, version = tracking.champion(), champion["model_version"]
    return [] if alias == version else [f"{store.champion} names version {version}, the alias names {alias or 'none'}"]


def _crown(
    store: Store, tracking: "Tracking", found: bytes | None, record: Champion, reporter: Reporter
) -> dict[str, Any] | None:
    """Write the file if it still is as `found`, then move the alias: this order is what `_agreed_champion` mends.

    None where the file has changed, and then nothing was done.
    """
    champion = {**record, "promoted_at": datetime.now(UTC).isoformat()}
    if not swap_bytes(store.champion, found, as_json(champion)):
        return None
    _move_alias(store, tracking, champion["model_version"])
    reporter.say(
        f"champion: {champion['model_name']} version {champion['model_version']}, release {champion['run_id']}"
    )
    return _result(champion, changed=True)


def _result(champion: Champion, *, changed: bool) -> dict[str, Any]:
    """The champion for people and scripts, with only the version before it instead of the whole chain."""
    previous = champion["previous"]
    before = previous and {key: previous[key] for key in ("run_id", "model_version", "digest")}
    return {**champion, "previous": before, "changed": changed}


def _stands_for_later(champion: Champion, as_of: datetime | None) -> bool:
    recorded = champion.get("as_of")
    return bool(as_of and recorded and datetime.fromisoformat(recorded) > as_of)


def _move_alias(store: Store, tracking: "Tracking", version: str) -> None:
    """Move the alias to `version`, or on to where the file points since: the last to write it looks again."""
    moved = None
    while moved != version:
        tracking.set_champion(version)
        moved, champion = version, read_champion(store)
        version = champion["model_version"] if champion else version


def read_champion(store: Store) -> Champion | None:
    """The record that downstream systems read; None while there is no champion."""
    return _read_champion(store)[0]


def _read_champion(store: Store) -> tuple[Champion | None, bytes | None]:
    """What `champion.json` says, and the bytes it says it in, for the swap."""
    try:
        found = read_bytes(store.champion)
    except FileNotFoundError:
        return None, None
    champion: Champion = parse_json(store.champion, found)
    missing = {"run_id", "digest", "model_name", "model_version", "previous"} - set(champion)
    if missing:
        raise StoreError(f"{store.champion} lacks {sorted(missing)}; delete it and promote a version again")
    return champion, found


def _agreed_champion(store: Store, tracking: "Tracking", reporter: Reporter) -> tuple[Champion | None, bytes | None]:
    """Read the champion as `_read_champion` does, having moved an alias that was left behind to where it points."""
    champion, found = _read_champion(store)
    if champion is None:
        return None, None
    _require_same_registry(store, tracking, champion)
    alias, version = tracking.champion(), champion["model_version"]
    if alias != version:
        _move_alias(store, tracking, version)
        reporter.say(f"champion: the alias named {alias or 'no version'}; moved to {version} as {store.champion} says")
    return champion, found


def _require_same_registry(store: Store, tracking: "Tracking", champion: Champion) -> None:
    name, version = champion["model_name"], champion["model_version"]
    mend = f"set mlflow.tracking_uri and mlflow.model_name as they were, or delete {store.champion} to begin anew"
    if name != tracking.model_name:
        raise InputError(f"{store.champion} names model {name}, mlflow.model_name is {tracking.model_name}; {mend}")
    found = tracking.version(version)
    if found is None:
        raise InputError(f"{store.champion} names {name} version {version}, {tracking.shown_uri} has none; {mend}")
    if (found.run_id, found.digest) != (champion["run_id"], champion["digest"]):
        raise InputError(
            f"{store.champion} says that {name} version {version} is release {champion['run_id']} with digest "
            f"{champion['digest']}, {tracking.shown_uri} says {found.run_id} with {found.digest}; {mend}"
        )


def _registered(tracking: "Tracking", version: str) -> "ModelVersion":
    found = tracking.version(version) if version.isdecimal() else None
    if found is None:
        known = ", ".join(tracking.version_numbers()) or "none"
        raise InputError(
            f"{tracking.model_name} has no version {version!r} on {tracking.shown_uri}; there are: {known}"
        )
    return found


def _release_of(store: Store, candidate: "ModelVersion") -> str:
    """Run id of the release a version was made from.

    Raises `InputError` when it is not the release of that name in this store.
    """
    from pipeline.release import read_manifest

    if not (candidate.run_id and candidate.digest):
        raise InputError(
            f"{candidate.name} version {candidate.version} carries no release tags: microrec did not register it"
        )
    digest = read_manifest(store.release(candidate.run_id))["release_digest"]
    if digest != candidate.digest:
        raise InputError(
            f"{candidate.name} version {candidate.version} was registered from a release {candidate.run_id} "
            f"with digest {candidate.digest}; the one in {store.releases} has {digest}: "
            "give the store.root it was registered from"
        )
    return candidate.run_id


def _pass_gate(
    gate: GateConfig, store: Store, run_id: str, value: float | None, champion: Champion | None, reporter: Reporter
) -> None:
    """Compare on validation, never on test."""
    if champion is None:
        return
    value, before = _comparable(run_id, gate.metric, value), _champion_value(store, champion, gate.metric)
    floor = before * (1 - gate.max_regression)
    if value < floor:
        raise GateRefusedError(
            f"release {run_id} has validation {gate.metric} {value:.4f}, the champion {champion['run_id']} has "
            f"{before:.4f}; at least {floor:.4f} is needed (gate.max_regression = {gate.max_regression})"
        )
    reporter.say(f"gate: validation {gate.metric} {value:.4f}, champion {before:.4f}, floor {floor:.4f}: passed")


def _champion_value(store: Store, champion: Champion, metric: str) -> float:
    if not is_complete(store.release(champion["run_id"])):
        raise StoreError(
            f"the champion's release {champion['release']} is gone, so nothing can be compared with it; "
            f"restore it, or delete {store.champion} to begin anew"
        )
    return _comparable(champion["run_id"], metric, _validation_value(store, champion["run_id"], metric))


def _comparable(run_id: str, metric: str, value: float | None) -> float:
    if value is None or not math.isfinite(value):
        raise GateRefusedError(
            f"release {run_id} has no validation {metric}, so it cannot be compared; "
            'hold out a validation part, or switch the gate off with gate.metric = "none"'
        )
    return value


def _validation_value(store: Store, run_id: str, metric: str) -> float | None:
    """The metric as the release's manifest has it, or None where nothing was held out.

    Raises `InputError` for a name that is no metric.
    """
    from pipeline.release import read_manifest

    return _measured(read_manifest(store.release(run_id))["metrics"], run_id, metric)


def _measured(metrics: dict[str, Any], run_id: str, metric: str) -> float | None:
    measured = metrics.get("validation")
    if not measured:
        return None
    if metric not in measured:
        raise InputError(f"gate.metric is {metric!r}; release {run_id} has {', '.join(sorted(measured))}")
    return float(measured[metric])


def _cut(champion: Champion | None, depth: int) -> Champion | None:
    """The chain of champions, its tail left out beyond `depth`."""
    if champion is None or depth == 0:
        return None
    return {**champion, "previous": _cut(champion["previous"], depth - 1)}
