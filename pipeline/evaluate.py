"""Stage `evaluate`: full-ranking metrics of the trained vectors, whole and by slice."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from upath import UPath

from model.baselines.popularity import popularity
from model.evaluation import InnerProduct
from pipeline.dataset import load_dataset
from pipeline.errors import StoreError
from pipeline.protocol import EvaluationProtocol
from pipeline.run import Result, Run
from pipeline.storage import local_copy, write_json
from pipeline.train import VECTORS


def evaluate(run: Run, folder: Path) -> Result:
    """Measure the trained vectors, and popularity beside them; a part without interactions has no metrics."""
    dataset = load_dataset(run.stage("prepare"))
    with local_copy(run.stage("train") / VECTORS) as file:
        vectors = load_file(file)
    trained = InnerProduct(vectors["user_UD"], vectors["item_ID"])
    if not (torch.isfinite(trained.user_UD).all() and torch.isfinite(trained.item_ID).all()):
        raise StoreError(f"{run.stage('train') / VECTORS} holds NaN or infinite vectors; train again with a new run id")
    protocol = EvaluationProtocol(dataset, run.config.split)
    metrics: dict[str, object] = {
        "validation": protocol.validation(trained),
        "test": protocol.test(trained),
        "cold": protocol.cold(trained),
        "slices": protocol.slices(trained),
        "popularity": protocol.test(popularity(dataset.training_data())),
        "paper_protocol": protocol.paper(trained),
    }
    write_json(UPath(str(folder / "metrics.json")), metrics)
    return {"metrics": metrics}
