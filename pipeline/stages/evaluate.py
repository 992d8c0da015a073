"""Stage `evaluate`: full-ranking metrics of the trained vectors, whole and by slice; new items; similar items."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from upath import UPath

from model.baselines.cosines import summed_cosines
from model.baselines.popularity import popularity
from model.data import TrainingData
from model.evaluation import InnerProduct
from pipeline import stages
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.kinds import kind_numbers
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.records import Evaluation, ItemQuality
from pipeline.dataset.similar import MOST_ANCHORS, SimilarItems, affordable
from pipeline.documents import as_document
from pipeline.errors import StoreError
from pipeline.run import Run
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.results import EvaluateResult
from pipeline.storage.files import local_copy, write_json


def evaluate(run: Run, folder: Path) -> EvaluateResult:
    """Measure the trained vectors, popularity and content alone; a part without interactions has no metrics."""
    dataset = load_dataset(run.folder(stages.PREPARE))
    metrics = measure_all(dataset, EvaluationProtocol(dataset, run.config.split), _trained(run))
    write_json(UPath(str(folder / "metrics.json")), as_document(metrics))
    return EvaluateResult(metrics=metrics)


def _trained(run: Run) -> InnerProduct:
    source = run.folder(stages.TRAIN) / VECTORS
    with local_copy(source) as file:
        vectors = load_file(file)
    trained = InnerProduct(vectors["user_UD"], vectors["item_ID"])
    if not (torch.isfinite(trained.user_UD).all() and torch.isfinite(trained.item_ID).all()):
        raise StoreError(f"{source} holds NaN or infinite vectors; train again with a new run id")
    return trained


def measure_all(dataset: Dataset, protocol: EvaluationProtocol, trained: InnerProduct) -> Evaluation:
    """Everything that is measured of one model."""
    data = dataset.training_data()
    contest, similar = protocol.open_contest(trained), _similar_items(dataset, protocol, trained.item_ID)
    return Evaluation(
        validation=protocol.validation(trained),
        test=contest.test(),
        cold=protocol.cold(trained),
        cold_open=contest.cold(),
        warm=contest.warm(),
        warm_alone=protocol.warm_alone(trained),
        new_items=contest.new_items(),
        similar_items=similar.measure(trained.item_ID, torch.ones(len(trained.item_ID), dtype=torch.bool)),
        yardsticks={name: _yardstick(data, name, protocol, similar) for name in data.features},
        slices=contest.slices(),
        popularity=protocol.test(popularity(data)),
        paper_protocol=protocol.paper(trained),
    )


def _similar_items(dataset: Dataset, protocol: EvaluationProtocol, item_ID: Tensor) -> SimilarItems:
    """So many anchors that the widest vectors do not take too long: the same ones for all, so that figures compare."""
    kinds = kind_numbers(dataset.items)
    widest = max(item_ID.shape[1], *(matrix.shape[1] for matrix in dataset.features.values()), 1)
    most = min(MOST_ANCHORS, affordable(len(item_ID), widest))
    return SimilarItems(protocol, None if kinds is None else torch.from_numpy(kinds), most)


def _yardstick(data: TrainingData, modality: str, protocol: EvaluationProtocol, similar: SimilarItems) -> ItemQuality:
    feature_ID = data.features[modality]
    contest = protocol.open_contest(summed_cosines(data, modality), affordable(*feature_ID.shape))
    return ItemQuality(
        test=contest.test(),
        cold_open=contest.cold(),
        new_items=contest.new_items(),
        similar_items=similar.measure(feature_ID, data.present[modality]),
    )
