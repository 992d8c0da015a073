"""Stage `evaluate`: full-ranking metrics of the trained vectors, whole and by slice."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from upath import UPath

from model.baselines.popularity import popularity
from model.evaluation import InnerProduct
from pipeline import stages
from pipeline.dataset.dataset import load_dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.records import Evaluation
from pipeline.documents import as_document
from pipeline.errors import StoreError
from pipeline.run import Run
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.results import EvaluateResult
from pipeline.storage.files import local_copy, write_json


def evaluate(run: Run, folder: Path) -> EvaluateResult:
    """Measure the trained vectors, and popularity beside them; a part without interactions has no metrics."""
    dataset = load_dataset(run.folder(stages.PREPARE))
    source = run.folder(stages.TRAIN) / VECTORS
    with local_copy(source) as file:
        vectors = load_file(file)
    trained = InnerProduct(vectors["user_UD"], vectors["item_ID"])
    if not (torch.isfinite(trained.user_UD).all() and torch.isfinite(trained.item_ID).all()):
        raise StoreError(f"{source} holds NaN or infinite vectors; train again with a new run id")
    protocol = EvaluationProtocol(dataset, run.config.split)
    metrics = Evaluation(
        validation=protocol.validation(trained),
        test=protocol.test(trained),
        cold=protocol.cold(trained),
        slices=protocol.slices(trained),
        popularity=protocol.test(popularity(dataset.training_data())),
        paper_protocol=protocol.paper(trained),
    )
    write_json(UPath(str(folder / "metrics.json")), as_document(metrics))
    return EvaluateResult(metrics=metrics)
