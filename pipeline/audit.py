"""`microrec verify`: a release, and whether the registry and `champion.json` agree with it."""

from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.config import Config
from pipeline.errors import InputError, StoreError
from pipeline.promotion import champion_problems
from pipeline.storage import SUCCESS, is_complete, read_json, resolve
from pipeline.tracking import ModelVersion, open_tracking
from pipeline.verify import verify_release


def verify_named_release(config: Config, name: str) -> dict[str, Any]:
    """Check a release named by run id or by path, and what the registry and `champion.json` say of it.

    Raises:
        InputError: there is no such release.
        StoreError: it does not verify, or the registry or `champion.json` names another digest for it.
    """
    store = config.open_store()
    run_id = UPath(name.rstrip("/")).name
    if "/" in name.rstrip("/") and str(resolve(name.rstrip("/"), Path.cwd())) != str(store.release(run_id)):
        raise InputError(f"{name} is not in {store.releases}: give the store it belongs to with --set store.root=…")
    if not is_complete(store.release(run_id)):
        raise InputError(f"no release {name!r} in {store.releases}: a release has a {SUCCESS} file")
    checked = verify_release(store, run_id)
    versions = _registered_versions(config, run_id)
    problems = [
        f"model version {version.version} carries digest {version.digest}"
        for version in versions
        if version.digest != checked["digest"]
    ]
    champion = read_json(store.champion) if store.champion.exists() else None
    is_champion = bool(champion and champion["run_id"] == run_id)
    if champion and is_champion:
        problems += champion_problems(config)
        if champion["digest"] != checked["digest"]:
            problems.append(f"{store.champion} names digest {champion['digest']}")
    if problems:
        raise StoreError(f"release {run_id} has digest {checked['digest']}, but " + "; ".join(problems))
    return checked | {"model_versions": [version.version for version in versions], "champion": is_champion}


def _registered_versions(config: Config, run_id: str) -> list[ModelVersion]:
    tracking = open_tracking(config)
    versions = [tracking.version(number) for number in tracking.version_numbers()]
    return [version for version in versions if version and version.run_id == run_id]
