"""`load_champion`: the champion's release for your own service, pinned and verified."""

import logging
import os
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from upath import UPath

from pipeline.errors import DamagedError, InputError, StoreError
from pipeline.registry.champion import Champion, read_champion
from pipeline.release.increment import Published, newest_sound, require_sound
from pipeline.storage.files import (
    SUCCESS,
    as_json,
    file_sha256,
    is_complete,
    local_copy,
    publish_folder,
    read_json,
    require_known_scheme,
    require_reachable,
    resolve,
    scratch,
)
from pipeline.storage.layout import Store

if TYPE_CHECKING:
    import pandas as pd
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

log = logging.getLogger(__name__)
_DIGESTS = "digests.json"
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A release that stays the same, whatever is promoted later."""

    run_id: str
    digest: str
    increment: int | None = None
    """Number of the increment whose items are among the release's; None where there is none."""
    folder: Path
    """Arrays of the release on this machine, mapped into memory: processes that load the same share them."""
    model: Any

    def predict(self, questions: Any, params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Answer questions as `models:/microrec@champion` does (docs/reference/serving.md).

        Args:
            questions: a data frame, a dictionary of columns, or a list of rows.
            params: `mode`, `k`, `exclude_seen`, `unknown`.

        Raises `mlflow.exceptions.MlflowException` of one line for what is not known or makes no sense.
        """
        answer: pd.DataFrame = self.model.answered(questions, params)
        return answer

    def user_id(self, text: str) -> str | int:
        """A user's id as the release has it, of text such as a part of an address."""
        return _as_id(text, integer=self.model.users.integer)

    def item_id(self, text: str) -> str | int:
        """An item's id as the release has it, of text such as a part of an address."""
        return _as_id(text, integer=self.model.items.integer)


def load_champion(store: str, cache: str | Path | None = None, public_keys: Iterable[str | Path] = ()) -> Loaded:
    """Pin, verify and load the release that is the champion now, with the increment that stands beside it.

    An increment that is damaged, or not signed, does not stop a service: the newest that may be used is taken, or none,
    with one warning.

    Args:
        store: `store.root` of the configuration: a folder, or `s3://bucket/prefix`.
        cache: folder for what is made of releases; default one in the folder for temporary files that this user alone
            may write. A release that is there already is not fetched again, only held against its recorded digests.
        public_keys: files of Ed25519 public keys (PEM), of which one's owner must have signed the release and the
            increment; none: they need not be signed.

    Raises:
        InputError: there is no champion; the store is not there or may not be read; others may write the default cache;
            a file holds no key.
        StoreError: the release does not verify or is not signed, or the increment does not fit it.
        PassingError: the store does not answer now.
    """
    require_known_scheme(store, "store")
    keys = _read_keys(public_keys)
    root = Store(resolve(store, Path.cwd()))
    require_reachable(root.root, "store")
    champion = read_champion(root)
    if champion is None:
        raise InputError(f"{root.root} has no champion: there is no {root.champion.name}; see `microrec promote`")
    increment, damaged = newest_sound(root.increments_of(champion.run_id), champion.digest, keys)
    place, name = Path(cache) if cache else _own_cache(), f"{champion.run_id}-{champion.digest[:16]}"
    if keys:
        name += f"-{_signed(root.release(champion.run_id), keys)[:16]}"  # not what was cached unsigned
    number = increment.increment.number if increment else None
    if damaged:
        log.warning("serving %s with %s: %s", champion.run_id, _named(number), "; ".join(damaged))
    folder = resolve(str(place / (f"{name}+{number}" if number else name)), Path.cwd())
    if not _is_whole(Path(folder.path)):
        _prepare(root.release(champion.run_id), champion, increment, folder, keys)
    model = open_ranker(Path(folder.path))
    if number:
        _forget_before(place, name, number)
    return Loaded(
        run_id=champion.run_id, digest=champion.digest, increment=number, folder=Path(folder.path), model=model
    )


def _named(number: int | None) -> str:
    return "no increment" if number is None else f"increment {number}"


def _read_keys(files: Iterable[str | Path]) -> "list[Ed25519PublicKey]":
    from pipeline.release.signature import read_public_keys

    if isinstance(files, str | Path):
        raise InputError(f"public_keys is {str(files)!r}; expected a list of files")
    return read_public_keys(map(Path, files), "public_keys")


def _signed(release: UPath, keys: "list[Ed25519PublicKey]") -> str:
    """sha256 of the release's manifest; raises `StoreError` where it is not signed."""
    from pipeline.release.signature import require_signed

    if not is_complete(release):
        raise StoreError(f"champion.json names {release}, but there is no such release")
    return require_signed(release, keys)


def _forget_before(cache: Path, name: str, number: int) -> None:
    """Remove what was made with earlier increments of a release, but for the last, which may just be being opened.

    What is mapped into memory stays there.
    """
    for folder in cache.glob(f"{name}+*/"):
        earlier = folder.name.rpartition("+")[2]
        if earlier.isdecimal() and int(earlier) < number - 1:
            shutil.rmtree(folder, ignore_errors=True)


def _as_id(text: str, *, integer: bool) -> str | int:
    return int(text) if integer and _WHOLE_NUMBER.fullmatch(text) else text


def _own_cache() -> Path:
    """The default cache, made where it is not there.

    Raises `InputError` where another user could have put something into it: the folder above belongs to everyone.
    """
    place = Path(tempfile.gettempdir()) / f"microrec-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InputError(f"{place} may be written by other users, so it is not used; remove it, or name a cache")
    return place


def _is_whole(folder: Path) -> bool:
    """Whether the folder was published, and its files are those that were written."""
    if not is_complete(UPath(str(folder))):
        return False
    try:
        whole = bool(read_json(UPath(str(folder / _DIGESTS))) == _digests(folder))
    except (OSError, DamagedError):
        whole = False
    if not whole:
        (folder / SUCCESS).unlink(missing_ok=True)  # a folder without a marker is replaced
    return whole


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file, by name."""
    named = (file for file in sorted(folder.iterdir()) if file.name not in (_DIGESTS, SUCCESS))
    return {file.name: file_sha256(file) for file in named}


def _prepare(
    release: UPath,
    champion: Champion,
    increment: Published | None,
    folder: UPath,
    keys: "list[Ed25519PublicKey]",
) -> None:
    from pipeline.release.manifest import read_manifest
    from pipeline.release.served import Served
    from pipeline.release.verify import check_release

    if not is_complete(release):
        raise StoreError(f"champion.json names {release}, but there is no such release")
    read_manifest(release, champion.manifest_sha256)
    with local_copy(release) as local, scratch(folder) as beside:
        here = UPath(str(local))
        if keys:
            _signed(here, keys)  # of what was copied
        digest = check_release(here).digest
        if digest != champion.digest:
            raise DamagedError(f"champion.json names digest {champion.digest}, but {release} has {digest}")
        if increment:
            require_sound(increment, here)
        (beside / "served").mkdir()
        Served.of(here, increment).write(beside / "served")
        (beside / "served" / _DIGESTS).write_bytes(as_json(_digests(beside / "served")))
        publish_folder(beside / "served", folder)


def open_ranker(folder: Path) -> Any:
    """The registered model, without MLflow's wrapping, over files that `release.served` has written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about its own classes
        from pipeline.serving.ranker import Ranker

    model = Ranker()
    model.load_context(SimpleNamespace(artifacts={"release": str(folder)}))
    return model
