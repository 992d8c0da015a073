"""Which part of a score comes from what others bought, and which from content.

An item's vector is a sum: the trained one, what the item graphs bring of its neighbours in content, and its content in
each modality (`model.finishing`). So is its score: the user's vector times each part. The trained vector of an item
without interactions is made of content, too.

Shapes: Q items asked about, D dimension, F feature dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file

from model.config import ModelConfig
from model.inductive import OWN, content_part
from pipeline import stages
from pipeline.columns import EMBEDDING
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.records import Training
from pipeline.release.rotations import Rotations
from pipeline.run import Run
from pipeline.stages.checkpoint import CONTENT_MAP, VECTORS
from pipeline.stages.found_weights import with_found_weights

OTHERS, MAPPED, GRAPHS = "what others bought", "content", "similar items"
"""Parts of the trained vector: the interactions'; of an item without any, what its content is mapped to; and what the
items that are nearest in content bring."""


@dataclass(frozen=True)
class ScoreParts:
    """The parts of some items' vectors, in the space of a release."""

    content: dict[str, np.ndarray]
    """By the part's name, float32 (Q, D)."""
    trained_Q: np.ndarray
    """Whether the item has training interactions, bool (Q,)."""

    def of(self, user_D: np.ndarray, score_P: np.ndarray, place_P: Sequence[int]) -> list[dict[str, float]]:
        """Parts that sum up to each score of one user, without those that are 0.

        Args:
            user_D: the user's released vector.
            score_P: of the user and each item.
            place_P: the items, as places among the Q.
        """
        told = []
        for score, place in zip(score_P, place_P, strict=True):
            from_content = {name: float(part_QD[place] @ user_D) for name, part_QD in self.content.items()}
            from_content = {name: value for name, value in from_content.items() if value}
            rest = OTHERS if self.trained_Q[place] else MAPPED
            told.append({rest: float(score) - sum(from_content.values()), **from_content})
        return told


def score_parts(
    run: Run, dataset: Dataset, training: Training, model: ModelConfig, rotations: Rotations, row_Q: np.ndarray
) -> ScoreParts:
    """The parts of items' vectors, by what stage `train` of the run has left.

    Args:
        dataset: that the run was trained on, with features.
        training: of the run.
        model: the settings that it was trained with.
        rotations: of its release.
        row_Q: the items, int64.
    """
    graph_weight = float(with_found_weights(model, training).content_weight)
    content = _content_parts(run, dataset, training, graph_weight, row_Q)
    return ScoreParts(
        content={name: rotations.turned(part_QD, EMBEDDING) for name, part_QD in content.items()},
        trained_Q=dataset.training_data().trained_items().numpy()[row_Q],
    )


def _content_parts(
    run: Run, dataset: Dataset, training: Training, graph_weight: float, row_Q: np.ndarray
) -> dict[str, np.ndarray]:
    """What content adds to the vectors of items in the training's space, float32 (Q, D) each."""
    trained = run.committed(stages.TRAIN)
    with trained.open(VECTORS) as file:
        content_QD = load_file(file)["content_ID"][torch.from_numpy(row_Q)]
    trained_Q1 = dataset.training_data().trained_items()[torch.from_numpy(row_Q)][:, None]
    parts, maps = {GRAPHS: graph_weight * content_QD * trained_Q1}, {}
    if trained.holds(CONTENT_MAP):
        with trained.open(CONTENT_MAP) as file:
            maps = load_file(file)
    if OWN in maps:
        parts[GRAPHS] = parts[GRAPHS] @ maps[OWN]
        for name in training.modalities:
            feature_QF = torch.from_numpy(dataset.features[name][row_Q])
            parts[name] = content_part(maps, name, feature_QF, torch.from_numpy(dataset.present[name][row_Q]))
    raised_Q1 = torch.where(trained_Q1, training.new_item_scale, 1.0)  # as the maps are; trained items are not
    return {name: (part_QD / raised_Q1).numpy() for name, part_QD in parts.items()}
