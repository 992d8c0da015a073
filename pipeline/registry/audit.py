"""`microrec verify`: a release, and whether the registry and `champion.json` agree with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upath import UPath

from pipeline.documents import as_document
from pipeline.errors import DamagedError, InputError
from pipeline.registry.answer import answer_problem, embedder_problem
from pipeline.registry.champion import Champion, read_champion
from pipeline.registry.promotion import champion_problems
from pipeline.registry.tracking import CHAMPION, Tracking
from pipeline.release.increment import find_increment, require_sound
from pipeline.release.manifest import manifest_sha256
from pipeline.release.verify import Verified, verify_release
from pipeline.storage.files import SUCCESS, is_complete, resolve
from pipeline.storage.layout import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


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
    increment: str | None
    """Folder of the increment beside it, which verifies, too; None where there is none."""


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


def audit_release(
    store: Store, tracking: Tracking, checked: Verified, keys: "Sequence[Ed25519PublicKey]" = ()
) -> Audited:
    """Check what the registry and `champion.json` say of a release that verifies, and ask its model once.

    Args: keys: of which one's owner must have signed the increment; none: it need not be signed.

    Raises:
        DamagedError: they name another digest for it, or its model is damaged or answers otherwise; or the increment
            beside it does not verify, or is not signed.
        PassingError: MLflow or its artifacts cannot be reached now.
    """
    run_id = UPath(checked.release).name
    increment = find_increment(store.increments_of(run_id), checked.digest, keys)
    if increment:
        require_sound(increment, store.release(run_id))
    versions, manifest = tracking.versions_of(run_id), manifest_sha256(store.release(run_id))
    problems = [
        f"model version {version.version} carries digest {version.digest}"
        for version in versions
        if version.digest != checked.digest
    ]
    champion = read_champion(store)
    is_champion = champion is not None and champion.run_id == run_id
    asked = [one for one in versions if not (champion and is_champion) or one.version == champion.model_version]
    if asked and asked[-1].manifest_sha256 not in (None, manifest):
        problems.append(f"model version {asked[-1].version} carries a manifest's sha256 {asked[-1].manifest_sha256}")
    if champion and is_champion:
        problems += [*champion_problems(store, tracking), *_record_problems(store, champion, checked.digest, manifest)]
    if problems:
        raise DamagedError(f"release {run_id} has digest {checked.digest}, but " + "; ".join(problems))
    numbers = [version.version for version in versions]
    name = f"@{CHAMPION}" if is_champion else f"/{numbers[-1]}" if numbers else None
    problem = answer_problem(store, tracking, run_id, name, asked[-1].files if asked else None) if name else None
    problem = problem or (embedder_problem(tracking, asked[-1]) if asked else None)
    if problem:
        raise DamagedError(f"release {run_id} is sound, but {problem}")
    return Audited(
        **as_document(checked),
        model_versions=numbers,
        champion=is_champion,
        model=f"models:/{tracking.model_name}{name}" if name else None,
        artifacts=tracking.artifacts_of(name) if name else None,
        increment=str(increment.folder) if increment else None,
    )


def _record_problems(store: Store, champion: Champion, digest: str, manifest: str) -> list[str]:
    """What `champion.json` says of its release and the release does not; all else in it stands under its seal."""
    pairs = {
        "digest": (champion.digest, digest),
        "manifest_sha256": (champion.manifest_sha256 or manifest, manifest),
        "release": (champion.release.rpartition("/")[2] or champion.run_id, champion.run_id),
    }
    return [f"{store.champion} names {name} {theirs}" for name, (theirs, ours) in pairs.items() if theirs != ours]
