"""`microrec verify`: a release, and whether the registry and `champion.json` agree with it."""

from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from pipeline.documents import as_document
from pipeline.errors import InputError, StoreError
from pipeline.registry.champion import read_champion
from pipeline.registry.promotion import champion_problems
from pipeline.registry.tracking import ModelVersion, Tracking
from pipeline.release.verify import Verified, verify_release
from pipeline.storage.files import SUCCESS, is_complete, resolve
from pipeline.storage.layout import Store


@dataclass(frozen=True, kw_only=True)
class Audited(Verified):
    """A release that the registry and `champion.json` agree with."""

    model_versions: list[str]
    """Registered from it."""
    champion: bool


def verify_named_release(store: Store, name: str) -> Verified:
    """Check a release named by run id or by path.

    Raises:
        InputError: there is no such release.
        StoreError: it does not verify.
    """
    run_id = UPath(name.rstrip("/")).name
    if "/" in name.rstrip("/") and str(resolve(name.rstrip("/"), Path.cwd())) != str(store.release(run_id)):
        raise InputError(f"{name} is not in {store.releases}: give the store it belongs to with --set store.root=…")
    if not is_complete(store.release(run_id)):
        raise InputError(f"no release {name!r} in {store.releases}: a release has a {SUCCESS} file")
    return verify_release(store, run_id)


def audit_release(store: Store, tracking: Tracking, checked: Verified) -> Audited:
    """Check what the registry and `champion.json` say of a release that verifies.

    Raises `StoreError` where they name another digest for it.
    """
    run_id = UPath(checked.release).name
    versions = _registered_versions(tracking, run_id)
    problems = [
        f"model version {version.version} carries digest {version.digest}"
        for version in versions
        if version.digest != checked.digest
    ]
    champion = read_champion(store)
    is_champion = champion is not None and champion.run_id == run_id
    if champion and is_champion:
        problems += champion_problems(store, tracking)
        if champion.digest != checked.digest:
            problems.append(f"{store.champion} names digest {champion.digest}")
    if problems:
        raise StoreError(f"release {run_id} has digest {checked.digest}, but " + "; ".join(problems))
    numbers = [version.version for version in versions]
    return Audited(**as_document(checked), model_versions=numbers, champion=is_champion)


def _registered_versions(tracking: Tracking, run_id: str) -> list[ModelVersion]:
    versions = [tracking.version(number) for number in tracking.version_numbers()]
    return [version for version in versions if version and version.run_id == run_id]
