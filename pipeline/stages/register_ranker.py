"""`models:/<name>`: the model that recommends, as stage `register` logs it (`serving/ranker.py`)."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.columns import ASKED, ASKED_ITEM_ID, ITEM_ID, RANK, REQUEST, SCORE, SOURCE, USER_ID
from pipeline.registry.tracking import LoggedModel, Tracking
from pipeline.release.manifest import Manifest
from pipeline.release.served import Served

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.models import ModelSignature

RANKER = Path(__file__).parents[1] / "serving" / "ranker.py"
SERVED = "release"
"""Name of the folder of files that the ranker reads."""
DEFAULTS = {"mode": "recommend", "k": 20, "exclude_seen": True, "unknown": "popular"}
"""The ranker's parameters. The ranker has its own copy, because it imports nothing of ours."""
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow")
"""What the ranker imports; registered with the versions that it was tried with here."""


def log_ranker(
    tracking: Tracking, mlflow_run: "MlflowRun", manifest: Manifest, served: Served, *, anew: bool = False
) -> LoggedModel:
    """Log the ranker with the files that it reads."""
    with tempfile.TemporaryDirectory(prefix="microrec-") as folder:
        served.write(Path(folder))
        return tracking.log_model(
            mlflow_run,
            tracking.model_name,
            RANKER,
            {SERVED: Path(folder)},
            signature(served.user_id.type, served.item_id.type),
            anew=anew,
            input_example=input_example(served.user_id) if len(served.user_id) else None,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            metadata={"run_id": manifest.run_id, "release_digest": manifest.release_digest},
        )


def input_example(users: Any) -> tuple[Any, dict[str, Any]]:
    """Two users and the parameters, as MLflow keeps an example."""
    return users.slice(0, 2).to_pandas().to_frame(USER_ID), {"mode": "recommend", "k": 20}


def signature(user_type: Any, item_type: Any) -> "ModelSignature":
    """What goes into the ranker and what comes out.

    Columns are of any type: MLflow would make texts of missing ids, and a single row of a dictionary of lists.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    user, item = DataType[_mlflow_type(user_type)], DataType[_mlflow_type(item_type)]
    anything = AnyType()  # type: ignore[no-untyped-call]
    answer = {
        REQUEST: DataType.long,
        RANK: DataType.long,
        ITEM_ID: item,
        SCORE: DataType.float,
        SOURCE: DataType.string,
    }
    asked_for = [ColSpec(user, USER_ID, required=False), ColSpec(item, ASKED_ITEM_ID, required=False)]
    outputs = [ColSpec(kind, name, required=name in (REQUEST, SOURCE)) for name, kind in answer.items()]
    defaults = {
        "mode": DataType.string,
        "k": DataType.long,
        "exclude_seen": DataType.boolean,
        "unknown": DataType.string,
    }
    return ModelSignature(
        inputs=Schema([ColSpec(anything, name, required=False) for name in ASKED]),
        outputs=Schema([outputs[0], *asked_for, *outputs[1:]]),
        params=ParamSchema([ParamSpec(name, kind, DEFAULTS[name]) for name, kind in defaults.items()]),
    )


def _mlflow_type(arrow_type: Any) -> str:
    import pyarrow as pa

    if pa.types.is_integer(arrow_type):
        return "long" if arrow_type.bit_width > 32 else "integer"
    return "string"
