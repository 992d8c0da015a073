"""`microrec verify`: a release, and whether the registry and `champion.json` agree with it."""

from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.documents import as_document
from pipeline.errors import InputError, StoreError
from pipeline.registry.champion import read_champion
from pipeline.registry.promotion import champion_problems
from pipeline.registry.tracking import ModelVersion, Tracking
from pipeline.release.verify import verify_release
from pipeline.storage.files import SUCCESS, is_complete, resolve
from pipeline.storage.layout import Store


def verify_named_release(store: Store, tracking: Tracking, name: str) -> dict[str, Any]:
    """Check a release named by run id or by path, and what the registry and `champion.json` say of it.

    Raises:
        InputError: there is no such release.
        StoreError: it does not verify, or the registry or `champion.json` names another digest for it.
    """
    run_id = UPath(name.rstrip("/")).name
    if "/" in name.rstrip("/") and str(resolve(name.rstrip("/"), Path.cwd())) != str(store.release(run_id)):
        raise InputError(f"{name} is not in {store.releases}: give the store it belongs to with --set store.root=…")
    if not is_complete(store.release(run_id)):
        raise InputError(f"no release {name!r} in {store.releases}: a release has a {SUCCESS} file")
    checked = verify_release(store, run_id)
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
    return {**as_document(checked), "model_versions": numbers, "champion": is_champion}


def _registered_versions(tracking: Tracking, run_id: str) -> list[ModelVersion]:
    versions = [tracking.version(number) for number in tracking.version_numbers()]
    return [version for version in versions if version and version.run_id == run_id]
