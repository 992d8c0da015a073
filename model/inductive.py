"""Vectors for items the model has never seen, from their content alone and without retraining.

A new item stands in each modality's graph like a training item does (model/graph.py): its row of
A holds its K most similar items, itself counted as one. It has no ID embedding, so its own entry contributes
nothing, and no interaction, so its backbone vector is zero: the enriched vector is h / |h|.
Shapes: Q new items, I items of the model, K neighbours, F feature dimension, D embedding dimension, M modalities.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.fusion import make_fusion
from model.graph import nearest_neighbours
from model.micro import ModelConfig

BLOCK_ELEMENTS = 1 << 25  # similarities held at once (128 MiB of float32)


@dataclass(frozen=True, kw_only=True)
class ContentSide:
    """One modality: the catalogue's features beside the new items'."""

    known_IF: Tensor
    known_present_I: Tensor
    new_QF: Tensor
    new_present_Q: Tensor


@torch.no_grad()
def embed_new_items(
    parameters: dict[str, Tensor], modalities: dict[str, ContentSide], config: ModelConfig
) -> tuple[Tensor, Tensor]:
    """Content vectors of new items.

    Args:
        parameters: of a trained `Micro`.
        modalities: in the model's order of modalities.

    Returns:
        vector_QD, of length 1 (0 for an item without content), and weight_QM.
    """
    if config.item_graph_layers != 1:
        raise ValueError("new items can be embedded by a model with model.item_graph_layers = 1 only")
    hidden, present = [], []
    for name, side in modalities.items():
        prefix = f"item_graphs.{name}.projection."
        hidden.append(_convolve(parameters["item_embedding_ID"], side, parameters, prefix, config))
        present.append(side.new_present_Q)
    fusion = make_fusion(config.fusion, len(modalities), config.embedding_dim, torch.Generator())
    fusion.load_state_dict(
        {key.removeprefix("fusion."): value for key, value in parameters.items() if key.startswith("fusion.")}
    )
    fused_QD, weight_QM = fusion(torch.stack(hidden, dim=1), torch.stack(present, dim=1))
    return F.normalize(fused_QD, dim=1), weight_QM


def _convolve(
    item_ID: Tensor, side: ContentSide, parameters: dict[str, Tensor], prefix: str, config: ModelConfig
) -> Tensor:
    weight = config.initial_graph_weight
    hidden_QD = weight * _propagate(item_ID, side.known_IF, side.new_QF, side, config.neighbours)
    if weight < 1:
        matrix, bias = parameters[f"{prefix}weight"], parameters[f"{prefix}bias"]
        known_ID, new_QD = (F.linear(features, matrix, bias) for features in (side.known_IF, side.new_QF))
        hidden_QD = hidden_QD + (1 - weight) * _propagate(item_ID, known_ID, new_QD, side, config.neighbours)
    return hidden_QD


def _propagate(item_ID: Tensor, known_IF: Tensor, new_QF: Tensor, side: ContentSide, num_neighbours: int) -> Tensor:
    """One graph's row for every new item, times the ID embeddings."""
    degree_I = nearest_neighbours(known_IF, side.known_present_I, num_neighbours).similarity_IK.sum(1)
    kept = min(num_neighbours - 1, int(side.known_present_I.sum()))
    known_unit_IF, new_unit_QF = F.normalize(known_IF, dim=1), F.normalize(new_QF, dim=1)
    known_unit_IF = known_unit_IF * side.known_present_I[:, None]
    blocks = []
    for unit_CF in new_unit_QF.split(max(1, BLOCK_ELEMENTS // len(item_ID))):
        value_CK, index_CK = (unit_CF @ known_unit_IF.T).clamp(min=0).topk(kept, dim=1)
        own_C = unit_CF.square().sum(1)
        degree_CK = (own_C + value_CK.sum(1))[:, None] * degree_I[index_CK]
        weight_CK = torch.where(degree_CK > 0, value_CK * degree_CK.clamp(min=1e-12).rsqrt(), 0.0)
        blocks.append(torch.einsum("ck,ckd->cd", weight_CK, item_ID[index_CK]))
    return torch.cat(blocks) * side.new_present_Q[:, None]
