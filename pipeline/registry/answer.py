"""Whether a registered model answers, and the one for new items beside it is whole.

The first is loaded as a consumer loads it, and asked once.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.columns import EMBEDDING, ITEM_ID, SCORE, USER_ID
from pipeline.faults.fault import one_line
from pipeline.faults.find import raise_if_passing
from pipeline.registry.tracking import ModelVersion, Tracking
from pipeline.release.format import ITEM_EMBEDDINGS, USER_VECTORS
from pipeline.release.sound import sound_table
from pipeline.storage.arrow import vectors_of
from pipeline.storage.files import file_sha256
from pipeline.storage.layout import Store

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

MLMODEL = "MLmodel"
"""The file in which MLflow describes a model; it alone is not made of the release."""
TOLERANCE = 1e-4
"""Relative, of a score that another machine may have added up in another order."""


def answer_problem(
    store: Store, tracking: Tracking, run_id: str, name: str, files: Mapping[str, str] | None = None
) -> str | None:
    """What is wrong with a model (`@champion`, `/3`) that was registered from a release; None where it answers.

    Args:
        files: sha256 of the files that it was registered with, by name.

    Raises `PassingError` where MLflow or its artifacts cannot be reached now.
    """
    uri = f"models:/{tracking.model_name}{name}"
    release = store.release(run_id)
    users, items = sound_table(release, USER_VECTORS), sound_table(release, ITEM_EMBEDDINGS)
    asked = users.column(USER_ID).slice(0, 1).to_pandas().to_frame(USER_ID)
    try:
        with tracking.files_of(name) as folder:
            damaged = _damaged(folder, files or {})
            answer = None if damaged else _answer(folder, asked)
            damaged = damaged or ([] if answer is not None else [MLMODEL])
    except Exception as error:  # noqa: BLE001  loading runs the code of MLflow, of its store and of the model
        raise_if_passing(error, uri)
        return (
            f"{uri} cannot be loaded: {one_line(error)}. Are its artifacts there, at {tracking.artifacts_of(name)}? "
            f"`microrec register --again --release {run_id}` registers it anew"
        )
    if damaged:
        return (
            f"{uri} is damaged: {', '.join(damaged)} are not as they were registered; "
            f"`microrec register --again --release {run_id}` registers it anew"
        )
    if not (len(asked) and items.num_rows):
        return None
    item_ID, user_D = vectors_of(items, EMBEDDING), vectors_of(users.slice(0, 1), EMBEDDING)[0]
    if _is_best(answer, items.column(ITEM_ID).to_pylist(), item_ID @ user_D):
        return None
    return f"{uri} does not answer as release {run_id} would: it holds other vectors"


def embedder_problem(tracking: Tracking, version: ModelVersion) -> str | None:
    """What is wrong with the files of the model for new items that goes with a version; None if they are whole.

    Raises `PassingError` where MLflow or its artifacts cannot be reached now.
    """
    if version.embedder is None:
        return None
    name = f"/{version.embedder}"
    uri, found = f"models:/{tracking.embedder_name}{name}", tracking.embedder_of(version)
    again = f"`microrec register --again --run-id {version.run_id}` registers it anew"
    if found is None:
        return f"{uri}, which goes with version {version.version}, is gone; {again}"
    try:
        with tracking.files_of(name, tracking.embedder_name) as folder:
            damaged = _damaged(folder, found.files)
    except Exception as error:  # noqa: BLE001  whatever MLflow's store raises
        raise_if_passing(error, uri)
        return f"{uri} cannot be read: {one_line(error)}; {again}"
    return f"{uri} is damaged: {', '.join(damaged)} are not as they were registered; {again}" if damaged else None


def load(folder: Path) -> "PyFuncModel":
    """The model in a folder, as a consumer loads it."""
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        model: PyFuncModel = mlflow.pyfunc.load_model(str(folder))
        return model


def _answer(folder: Path, asked: Any) -> Any:
    """What the model in a folder answers; None if MLflow's own description of it is not one."""
    from mlflow.models import Model

    try:
        return load(folder).predict(asked, params={"k": 1, "exclude_seen": False})
    except Exception:
        try:
            described = "python_function" in Model.load(str(folder)).flavors
        except Exception:  # noqa: BLE001  whatever a damaged file makes of it
            described = False
        if described:
            raise
        return None


def _damaged(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of the files that are gone, or not those of these digests, below a folder."""
    there = {path.name: path for path in folder.rglob("*") if path.name in files}
    return [name for name in sorted(files) if name not in there or file_sha256(there[name]) != files[name]]


def _is_best(answer: Any, item_id: list[Any], score_I: np.ndarray) -> bool:
    """Whether an answer of one row is the item of the highest score."""
    if len(answer) != 1 or answer[ITEM_ID].iloc[0] not in item_id:
        return False
    best, said = score_I.max(), answer[SCORE].iloc[0]
    given = score_I[item_id.index(answer[ITEM_ID].iloc[0])]
    return bool(np.allclose([said, given], best, rtol=TOLERANCE, atol=TOLERANCE))
