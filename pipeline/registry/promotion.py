"""Moving the champion: promotion past the gate, and rollback, which holds what it restores.

Two records name the champion: `<root>/champion.json`, which downstream systems read, and the alias `champion`
in the registry. The file is the truth and moves first, by compare-and-swap: of two promotions at once the one
that comes second starts over and is judged against the new champion. The alias follows. A process killed between
the two leaves the alias behind, and the next promote or rollback begins by moving it to where the file points,
so the two agree again whatever it then decides.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.dataset.records import Evaluation
from pipeline.documents import as_document
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.champion import Champion, Found, Hold, champion_manifest, find_champion, now, read_champion
from pipeline.registry.gate import NO_GATE, GateConfig, not_judged, require_passed, still_counts, tags_of
from pipeline.registry.standing import Standing, standing
from pipeline.registry.tracking import AS_OF_TAG, ModelVersion, Tracking
from pipeline.release.manifest import manifest_sha256, read_manifest
from pipeline.release.signature import require_signed
from pipeline.release.verdict import OFF, Verdict, read_verdict
from pipeline.storage.files import as_json, swap_bytes
from pipeline.storage.layout import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEPT_BEFORE = 20
"""Champions before the present one that `champion.json` remembers."""


@dataclass(frozen=True, kw_only=True)
class Moved(Standing):
    """The champion after a promotion or a rollback, whether or not it moved."""

    changed: bool
    counts: dict[str, int]
    """Rows of the release by table; empty where nothing changed."""
    metrics: Evaluation | None
    """Of the release; None where nothing changed."""


def promote(
    store: Store,
    tracking: Tracking,
    gate: GateConfig,
    version: str,
    reporter: Reporter,
    as_of: datetime | None = None,
    kept_before: int = KEPT_BEFORE,
    *,
    force: bool = False,
    reason: str | None = None,
    keys: "Sequence[Ed25519PublicKey]" = (),
) -> Moved:
    """Make a registered version the champion; the champion itself again is left as it is, and so is one that is held.

    `as_of` is the moment the release stands for, with its zone: a champion that stands for a later one stays, so
    that nights may end in any order. `force` asks neither the hold nor the gate; a hold stays until it is freed.
    Where there are `keys`, the owner of one must have signed the release, forced or not.

    Raises `InputError` for a version the registry lacks or that belongs to another store, `StoreError` for a
    release that does not verify or is not signed, `GateRefusedError` when the gate does not let it pass.
    """
    candidate = _registered(tracking, version)
    judge = dataclasses.replace(gate, metric=NO_GATE) if force else gate
    while True:
        found = _agreed_champion(store, tracking, reporter)
        champion = found.champion
        if champion and (stays := _why_it_stays(champion, candidate, as_of, force)):
            reporter.say(f"promote: {stays}")
            return _unmoved(store, champion)
        _require_sound(store, _release_of(store, candidate), candidate.manifest_sha256, keys)
        record = _judged(store, tracking, judge, candidate, champion, as_of, reporter)
        held, previous = (champion.held, champion.cut(kept_before)) if champion else (None, None)
        record = dataclasses.replace(record, reason=reason, held=held, previous=previous)
        record = record.after(champion, "forced" if force else "promoted", reason)
        if record.as_of:
            tracking.tag_version(version, {AS_OF_TAG: record.as_of})
        result = _crown(store, tracking, found, record, reporter)
        if result is not None:
            return result
        reporter.say("promote: another promotion came first; starting over")


def _why_it_stays(champion: Champion, candidate: ModelVersion, as_of: datetime | None, force: bool) -> str | None:
    """Why a candidate is not even judged; None where it is."""
    if champion.model_version == candidate.version:
        return f"{candidate.name} version {candidate.version} is the champion already"
    if champion.held and not force:
        return (
            f"champion {champion.run_id} is held since {champion.held.since} ({champion.held.reason}); it stays. "
            "`microrec champion free` ends that, `microrec promote --force` passes it once"
        )
    if champion.stands_for_later(as_of):
        return f"the champion stands for {champion.as_of}, later than {as_of}; it stays"
    return None


def _judged(
    store: Store,
    tracking: Tracking,
    gate: GateConfig,
    candidate: ModelVersion,
    champion: Champion | None,
    as_of: datetime | None,
    reporter: Reporter,
) -> Champion:
    """The record of a candidate that the gate lets pass."""
    run_id = candidate.run_id or ""
    verdict = _verdict(store, tracking, gate, candidate, champion)
    reporter.say(f"gate: {verdict.headline}")
    require_passed(verdict)
    return Champion(
        release=store.inside(store.release(run_id)),
        run_id=run_id,
        digest=candidate.digest or "",
        manifest_sha256=manifest_sha256(store.release(run_id)),
        model_name=candidate.name,
        model_version=candidate.version,
        metric=None if verdict.value is None else verdict.metric,
        value=verdict.value,
        as_of=as_of.isoformat() if as_of else None,
        previous=None,
    )


def _verdict(
    store: Store, tracking: Tracking, gate: GateConfig, candidate: ModelVersion, champion: Champion | None
) -> Verdict:
    """What stands in the release where it still counts: then no torch is loaded. Else the release is judged anew.

    A new verdict stands in the version's tags; the release stays as it is.
    """
    run_id = candidate.run_id or ""
    if gate.metric == NO_GATE:
        return not_judged(OFF, gate, run_id, champion)
    recorded = read_verdict(store.release(run_id))
    if recorded and still_counts(recorded, store, gate, run_id, champion):
        return recorded
    from pipeline.registry.judging.contender import released
    from pipeline.registry.judging.judge import judge

    verdict = judge(store, gate, released(store, run_id, candidate.manifest_sha256), champion)
    tracking.tag_version(candidate.version, tags_of(verdict))
    return verdict


def _require_sound(store: Store, run_id: str, manifest: str | None, keys: "Sequence[Ed25519PublicKey]") -> None:
    """Raise `StoreError` where a release is damaged, or no owner of a key has signed it although there are keys."""
    from pipeline.release.verify import verify_release  # loads faiss, which not every promotion comes to need

    verify_release(store, run_id, manifest)
    if keys:
        require_signed(store.release(run_id), keys)


def rollback(
    store: Store,
    tracking: Tracking,
    reporter: Reporter,
    reason: str | None = None,
    keys: "Sequence[Ed25519PublicKey]" = (),
) -> Moved:
    """Make the champion before this one the champion again, and hold it: the next night may have the same fault.

    Raises `InputError` when there is none before it or it was moved meanwhile, `StoreError` when its release
    does not verify, or where there are `keys` and it is not signed.
    """
    found = _agreed_champion(store, tracking, reporter)
    champion = found.champion
    if champion is None:
        raise InputError(f"nothing to roll back: there is no champion ({store.champion}); promote a version first")
    if champion.previous is None:
        raise InputError(
            f"nothing to roll back to: {champion.model_name} version {champion.model_version} "
            f"has no champion before it in {store.champion}"
        )
    _require_same_registry(store, tracking, champion.previous)
    _require_sound(store, champion.previous.run_id, champion.previous.manifest_sha256, keys)
    why = reason or f"rolled back from {champion.run_id}"
    record = dataclasses.replace(champion.previous, reason=why, held=Hold(reason=why, since=now()))
    result = _crown(store, tracking, found, record.after(champion, "rolled_back", why), reporter)
    if result is None:
        raise InputError(f"{store.champion} was changed meanwhile; see which release it names, then roll back again")
    return result


def champion_problems(store: Store, tracking: Tracking) -> list[str]:
    """Say where `champion.json` and the registry disagree; an empty list where they agree or there is no champion."""
    champion = read_champion(store)
    if champion is None:
        return []
    try:
        _require_same_registry(store, tracking, champion)
    except InputError as error:
        return [str(error)]
    alias, version = tracking.champion(), champion.model_version
    return [] if alias == version else [f"{store.champion} names version {version}, the alias names {alias or 'none'}"]


def _crown(store: Store, tracking: Tracking, found: Found, record: Champion, reporter: Reporter) -> Moved | None:
    """Write the file if it still is as `found`, then move the alias: this order is what `_agreed_champion` mends.

    None where the file has changed, and then nothing was done.
    """
    champion = dataclasses.replace(record, promoted_at=now())
    manifest = champion_manifest(store, champion)
    if not swap_bytes(store.champion, found.payload, as_json(as_document(champion))):
        return None
    move_alias(store, tracking, champion.model_version)
    held = f", held ({champion.held.reason})" if champion.held else ""
    reporter.say(f"champion: {champion.model_name} version {champion.model_version}, release {champion.run_id}{held}")
    shown = vars(standing(store, champion))
    return Moved(**shown, changed=True, counts=manifest.counts, metrics=manifest.metrics)


def _unmoved(store: Store, champion: Champion) -> Moved:
    return Moved(**vars(standing(store, champion)), changed=False, counts={}, metrics=None)


def move_alias(store: Store, tracking: Tracking, version: str) -> None:
    """Move the alias to `version`, or on to where the file points since: the last to write it looks again."""
    moved = None
    while moved != version:
        tracking.set_champion(version)
        moved, champion = version, read_champion(store)
        version = champion.model_version if champion else version


def _agreed_champion(store: Store, tracking: Tracking, reporter: Reporter) -> Found:
    """Read the champion as `find_champion` does, having moved an alias that was left behind to where it points."""
    found = find_champion(store)
    champion = found.champion
    if champion is None:
        return found
    _require_same_registry(store, tracking, champion)
    alias, version = tracking.champion(), champion.model_version
    if alias != version:
        move_alias(store, tracking, version)
        reporter.say(f"champion: the alias named {alias or 'no version'}; moved to {version} as {store.champion} says")
    return found


def _require_same_registry(store: Store, tracking: Tracking, champion: Champion) -> None:
    name, version = champion.model_name, champion.model_version
    mend = f"set mlflow.tracking_uri and mlflow.model_name as they were, or delete {store.champion} to begin anew; "
    mend += f"where MLflow was lost, `microrec register --again --release {champion.run_id}`"
    if name != tracking.model_name:
        raise InputError(f"{store.champion} names model {name}, mlflow.model_name is {tracking.model_name}; {mend}")
    found = tracking.version(version)
    if found is None:
        raise InputError(f"{store.champion} names {name} version {version}, {tracking.shown_uri} has none; {mend}")
    if (found.run_id, found.digest) != (champion.run_id, champion.digest):
        raise InputError(
            f"{store.champion} says that {name} version {version} is release {champion.run_id} with digest "
            f"{champion.digest}, {tracking.shown_uri} says {found.run_id} with {found.digest}; {mend}"
        )


def _registered(tracking: Tracking, version: str) -> ModelVersion:
    found = tracking.version(version) if version.isdecimal() else None
    if found is None:
        known = ", ".join(tracking.version_numbers()) or "none"
        raise InputError(
            f"{tracking.model_name} has no version {version!r} on {tracking.shown_uri}; there are: {known}"
        )
    return found


def _release_of(store: Store, candidate: ModelVersion) -> str:
    """Run id of the release a version was made from.

    Raises `InputError` when it is not the release of that name in this store.
    """
    if not (candidate.run_id and candidate.digest):
        raise InputError(
            f"{candidate.name} version {candidate.version} carries no release tags: microrec did not register it"
        )
    digest = read_manifest(store.release(candidate.run_id), candidate.manifest_sha256).release_digest
    if digest != candidate.digest:
        raise InputError(
            f"{candidate.name} version {candidate.version} was registered from a release {candidate.run_id} "
            f"with digest {candidate.digest}; the one in {store.releases} has {digest}: "
            "give the store.root it was registered from"
        )
    return candidate.run_id
