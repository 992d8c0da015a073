"""`load_champion`: the champion's release for a service of one's own, pinned and verified."""

import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from upath import UPath

from pipeline.errors import InputError, StoreError
from pipeline.registry.champion import Champion, read_champion
from pipeline.storage.files import (
    is_complete,
    local_copy,
    publish_folder,
    require_known_scheme,
    require_reachable,
    resolve,
    scratch,
)
from pipeline.storage.layout import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A release that stays what it is, whichever is promoted after it."""

    run_id: str
    digest: str
    folder: Path
    """Arrays of the release on this machine, mapped into memory: processes that load the same share them."""
    model: Any

    def predict(self, questions: Any, params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Answer questions as `models:/microrec@champion` does (docs/serving.md).

        Args:
            questions: a data frame, a dictionary of columns, or a list of rows.
            params: `mode`, `k`, `exclude_seen`, `unknown`.

        Raises `mlflow.exceptions.MlflowException` of one line for what is not known or makes no sense.
        """
        answer: pd.DataFrame = self.model.predict(None, questions, params)
        return answer


def load_champion(store: str, cache: str | Path | None = None) -> Loaded:
    """Pin, verify and load the release that is the champion now.

    Args:
        store: `store.root` of the configuration: a folder, or `s3://bucket/prefix`.
        cache: folder for what is made of releases; default one of this user's in the folder for temporary files. A
            release that is there already is neither fetched nor verified again.

    Raises:
        InputError: there is no champion; the store is not there or may not be read.
        StoreError: the release does not verify.
        PassingError: the store does not answer now.
    """
    require_known_scheme(store, "store")
    root = Store(resolve(store, Path.cwd()))
    require_reachable(root.root, "store")
    champion = read_champion(root)
    if champion is None:
        raise InputError(f"{root.root} has no champion: there is no {root.champion.name}; see `microrec promote`")
    place = Path(cache) if cache else Path(tempfile.gettempdir()) / f"microrec-{os.getuid()}"
    folder = resolve(str(place / f"{champion.run_id}-{champion.digest[:16]}"), Path.cwd())
    if not is_complete(folder):
        _prepare(root.release(champion.run_id), champion, folder)
    return Loaded(
        run_id=champion.run_id, digest=champion.digest, folder=Path(folder.path), model=_model(Path(folder.path))
    )


def _prepare(release: UPath, champion: Champion, folder: UPath) -> None:
    from pipeline.release.served import Served
    from pipeline.release.verify import check_release

    if not is_complete(release):
        raise StoreError(f"champion.json names {release}, but there is no such release")
    with local_copy(release) as local, scratch(folder) as beside:
        here = UPath(str(local))
        digest = check_release(here).digest
        if digest != champion.digest:
            raise StoreError(f"champion.json names digest {champion.digest}, but {release} has {digest}")
        (beside / "served").mkdir()
        Served.of(here).write(beside / "served")
        publish_folder(beside / "served", folder)


def _model(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about its own classes
        from pipeline.serving.ranker import Ranker

    model = Ranker()
    model.load_context(SimpleNamespace(artifacts={"release": str(folder)}))
    return model
