"""Stage `evaluate`: full-ranking metrics of the trained vectors, whole and by slice; new items; similar items."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from upath import UPath

from model.baselines.cosines import summed_cosines
from model.baselines.neighbours import item_knn
from model.baselines.popularity import popularity
from model.data import TrainingData
from model.evaluation import InnerProduct
from pipeline import stages
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.groups import measure_groups
from pipeline.dataset.kinds import kind_numbers
from pipeline.dataset.protocol import EvaluationProtocol, OpenContest
from pipeline.dataset.records import ITEM_KNN, MODEL, POPULARITY, BesideChampion, Evaluation, ItemQuality
from pipeline.dataset.similar import MOST_ANCHORS, SimilarItems, affordable
from pipeline.documents import as_document
from pipeline.errors import DamagedError, StoreError
from pipeline.registry.judging.beside import beside_champion
from pipeline.registry.judging.contender import released
from pipeline.registry.judging.yardsticks import MOST_ITEMS, NUM_NEIGHBOURS
from pipeline.registry.predecessor import predecessor
from pipeline.run import Run
from pipeline.stages.checkpoint import VECTORS
from pipeline.stages.gate import trained
from pipeline.stages.results import EvaluateResult
from pipeline.storage.files import write_json


def evaluate(run: Run, folder: Path) -> EvaluateResult:
    """Measure the trained vectors, popularity and content alone; a part without interactions has no metrics."""
    dataset = load_dataset(run.folder(stages.PREPARE))
    metrics = measure_all(dataset, EvaluationProtocol(dataset, run.config.split), _vectors(run))
    metrics = replace(metrics, beside_champion=_beside_champion(run))
    write_json(UPath(str(folder / "metrics.json")), as_document(metrics))
    return EvaluateResult(metrics=metrics)


def _vectors(run: Run) -> InnerProduct:
    source = run.folder(stages.TRAIN) / VECTORS
    with run.committed(stages.TRAIN).open(VECTORS) as file:
        vectors = load_file(file)
    model = InnerProduct(vectors["user_UD"], vectors["item_ID"])
    if not (torch.isfinite(model.user_UD).all() and torch.isfinite(model.item_ID).all()):
        raise DamagedError(f"{source} holds NaN or infinite vectors; train again with a new run id")
    return model


def _beside_champion(run: Run) -> BesideChampion | None:
    """The champion of when the run began on the same interactions; None where its release is gone or damaged."""
    before = predecessor(run.path, run.store)
    if before.run_id is None:
        return None
    try:
        champion = released(run.store, before.run_id)
    except StoreError as error:
        run.reporter.say(f"evaluate: not compared with the champion: {error}")
        return None
    return beside_champion(trained(run), champion, run.config.gate.max_users)


def measure_all(dataset: Dataset, protocol: EvaluationProtocol, model: InnerProduct) -> Evaluation:
    """Everything that is measured of one model."""
    data = dataset.training_data()
    contest, similar = protocol.open_contest(model), _similar_items(dataset, protocol, model.item_ID)
    bestsellers = protocol.open_contest(popularity(data))
    alone = {name: _content_alone(data, name, protocol) for name in data.features}
    contests = {**alone, MODEL: contest, POPULARITY: bestsellers, **_item_knn(data, protocol)}
    return Evaluation(
        validation=protocol.validation(model),
        test=contest.test(),
        cold=protocol.cold(model),
        cold_open=contest.cold(),
        warm=contest.warm(),
        warm_alone=protocol.warm_alone(model),
        new_items=contest.new_items(),
        similar_items=similar.measure(model.item_ID, torch.ones(len(model.item_ID), dtype=torch.bool)),
        yardsticks={name: _yardstick(data, name, one, similar) for name, one in alone.items()},
        slices=contest.slices(),
        popularity=bestsellers.test(),
        groups=measure_groups(protocol, dataset.items, contests),
        paper_protocol=protocol.paper(model),
    )


def _content_alone(data: TrainingData, modality: str, protocol: EvaluationProtocol) -> OpenContest:
    return protocol.open_contest(summed_cosines(data, modality), affordable(*data.features[modality].shape))


def _item_knn(data: TrainingData, protocol: EvaluationProtocol) -> dict[str, OpenContest]:
    """What is bought together, as the gate has it; nothing where items x items are too many."""
    if data.num_items > MOST_ITEMS:
        return {}
    return {ITEM_KNN: protocol.open_contest(item_knn(data, NUM_NEIGHBOURS))}


def _similar_items(dataset: Dataset, protocol: EvaluationProtocol, item_ID: Tensor) -> SimilarItems:
    """So many anchors that the widest vectors do not take too long: the same ones for all, so that figures compare."""
    kinds = kind_numbers(dataset.items)
    widest = max(item_ID.shape[1], *(matrix.shape[1] for matrix in dataset.features.values()), 1)
    most = min(MOST_ANCHORS, affordable(len(item_ID), widest))
    return SimilarItems(protocol, None if kinds is None else torch.from_numpy(kinds), most)


def _yardstick(data: TrainingData, modality: str, contest: OpenContest, similar: SimilarItems) -> ItemQuality:
    return ItemQuality(
        test=contest.test(),
        cold_open=contest.cold(),
        new_items=contest.new_items(),
        similar_items=similar.measure(data.features[modality], data.present[modality]),
    )
