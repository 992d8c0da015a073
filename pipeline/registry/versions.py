"""Which version in the registry is which release, and what to do if the registry was lost.

Version numbers mean nothing to another registry: a fresh one gives the same numbers to other releases. Only the tags
of a version count, the release's run id and digest.
"""

import dataclasses
from typing import Any

from pipeline.documents import as_document
from pipeline.errors import InputError
from pipeline.progress import Reporter
from pipeline.registry.answer import answer_problem, embedder_problem
from pipeline.registry.champion import Champion, find_champion, read_champion
from pipeline.registry.promotion import move_alias
from pipeline.registry.tracking import ModelVersion, Tracking
from pipeline.storage.files import as_json, swap_bytes
from pipeline.storage.layout import Store


def is_release(tracking: Tracking, version: str, run_id: str, digest: str) -> bool:
    """Whether the registry has this version, and it was registered from this release."""
    found = tracking.version(version)
    return found is not None and (found.run_id, found.digest) == (run_id, digest)


def require_version_of(tracking: Tracking, version: str, run_id: str, digest: str) -> None:
    """Raise `InputError` where a version that a run has recorded is not, or no longer, the run's."""
    if not is_release(tracking, version, run_id, digest):
        raise InputError(
            f"run {run_id} was registered as {tracking.model_name} version {version}; on {tracking.shown_uri} that is "
            f"{_called(tracking, version)}. If MLflow was lost or is another one, "
            f"`microrec register --again --run-id {run_id}` registers the run there"
        )


def _called(tracking: Tracking, version: str) -> str:
    found = tracking.version(version)
    return "no version" if found is None else f"release {found.run_id} with digest {found.digest}"


def answering_version(
    store: Store, tracking: Tracking, run_id: str, digest: str, reporter: Reporter
) -> ModelVersion | None:
    """A version of this release whose model answers, the one that `champion.json` names before others."""
    named = {champion.model_version for champion in champions(store)}
    found = [one for one in tracking.versions_of(run_id) if one.digest == digest]
    for version in sorted(found, key=lambda one: (one.version in named, int(one.version)), reverse=True):
        problem = answer_problem(store, tracking, run_id, f"/{version.version}", version.files)
        problem = problem or embedder_problem(tracking, version)
        if problem is None:
            return version
        reporter.say(f"register: {problem}")
    return None


def champions(store: Store) -> list[Champion]:
    """The champion and those before it, as `champion.json` has them."""
    found, champion = [], read_champion(store)
    while champion:
        found.append(champion)
        champion = champion.previous
    return found


def lost_champions(store: Store, tracking: Tracking) -> list[str]:
    """Runs of champions, the latest first, whose version in `champion.json` the registry does not have."""
    lost = [
        champion.run_id
        for champion in champions(store)
        if not is_release(tracking, champion.model_version, champion.run_id, champion.digest)
    ]
    return list(dict.fromkeys(lost))


def adopt(
    store: Store, tracking: Tracking, run_id: str, digest: str, version: str, manifest: str, reporter: Reporter
) -> bool:
    """Have `champion.json` name the version, and its manifest's sha256, of a release; whether it is the champion.

    Holds and history stay. The alias is moved where the release is the champion.
    """
    while True:
        found = find_champion(store)
        champion = found.champion
        if champion is None:
            return False
        now = {
            "model_name": tracking.model_name,
            "model_version": version,
            "manifest_sha256": manifest,
        }
        record = _renamed(champion, run_id, digest, now)
        if record == champion:
            break
        record = record.after(champion, "registered", f"release {run_id} was registered again as version {version}")
        if swap_bytes(store.champion, found.payload, as_json(as_document(record))):
            reporter.say(f"register: {store.champion} names version {version} for release {run_id} now")
            break
    if (champion.run_id, champion.digest) != (run_id, digest):
        return False
    if tracking.champion() != version:
        move_alias(store, tracking, version)
    return True


def _renamed(champion: Champion, run_id: str, digest: str, now: dict[str, Any]) -> Champion:
    """The chain of champions with what one release is registered as now."""
    before = champion.previous and _renamed(champion.previous, run_id, digest, now)
    if (champion.run_id, champion.digest) == (run_id, digest):
        champion = dataclasses.replace(champion, **now)
    return dataclasses.replace(champion, previous=before)
