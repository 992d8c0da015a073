"""`microrec verify`: a release, and whether the registry and `champion.json` agree with it."""

from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from pipeline.documents import as_document
from pipeline.errors import InputError, StoreError
from pipeline.registry.answer import answer_problem
from pipeline.registry.champion import read_champion
from pipeline.registry.promotion import champion_problems
from pipeline.registry.tracking import CHAMPION, Tracking
from pipeline.release.verify import Verified, verify_release
from pipeline.storage.files import SUCCESS, is_complete, resolve
from pipeline.storage.layout import Store


@dataclass(frozen=True, kw_only=True)
class Audited(Verified):
    """A release that the registry and `champion.json` agree with."""

    model_versions: list[str]
    """Registered from it."""
    champion: bool
    model: str | None
    """What was loaded and answered as the release does; None where nothing was registered from it."""
    artifacts: str | None
    """Where MLflow has its files."""


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
    """Check what the registry and `champion.json` say of a release that verifies, and ask its model once.

    Raises:
        StoreError: they name another digest for it, or its model cannot be loaded or answers otherwise.
        PassingError: MLflow or its artifacts cannot be reached now.
    """
    run_id = UPath(checked.release).name
    versions = tracking.versions_of(run_id)
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
    name = f"@{CHAMPION}" if is_champion else f"/{numbers[-1]}" if numbers else None
    problem = answer_problem(store, tracking, run_id, name) if name else None
    if problem:
        raise StoreError(f"release {run_id} is sound, but {problem}")
    return Audited(
        **as_document(checked),
        model_versions=numbers,
        champion=is_champion,
        model=f"models:/{tracking.model_name}{name}" if name else None,
        artifacts=tracking.artifacts_of(name) if name else None,
    )
