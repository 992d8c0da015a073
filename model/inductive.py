"""Vectors for items the model has never seen, from their content alone and without retraining.

The vector is the content map's, as for the items of the catalogue that had no interactions (`model.content_map`),
or with `model.new_items = "graphs"` the weighted content vector.
The content vector is the one that the item would have in the model: it stands in each modality's graph like a
training item does (MICRO, arXiv:2111.00678, equations 1 to 10), its row of A holding its K most similar items, itself
counted as one; it has no ID embedding, so its own entry contributes nothing.
Shapes: Q new items, I items of the model, K neighbours, F feature dimension, D embedding dimension, M modalities,
C content (see `model.content_map`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import ModelConfig, starting_weights
from model.content_map import content_rows
from model.data import mean_of_present
from model.finishing.finish import Finished
from model.finishing.taste import ContentAxes
from model.fusion import FUSIONS
from model.graph import nearest_neighbours

CONTENT, OWN, MEAN, AXIS, TASTE = "map_CD", "own_DD", "mean_F", "axis_FK", "taste_KD"
"""Names in the file of maps; of the last three with the modality's behind."""
Content = Mapping[str, tuple[Tensor, Tensor]]
"""Of each modality the features, float32 (Q, F), and which items have them, bool (Q,)."""
BLOCK_ELEMENTS = 1 << 25  # similarities held at once (128 MiB of float32)


@dataclass(frozen=True, kw_only=True)
class ContentSide:
    """One modality: the catalogue's features beside the new items'."""

    known_IF: Tensor
    known_present_I: Tensor
    new_QF: Tensor
    new_present_Q: Tensor

    @property
    def new(self) -> tuple[Tensor, Tensor]:
        """The new items' side alone."""
        return self.new_QF, self.new_present_Q


@dataclass(frozen=True, kw_only=True)
class NewItems:
    """What the model says of them; all 0 for an item without content."""

    vector_QD: Tensor
    content_QD: Tensor
    """Of length 1."""
    modality_weight_QM: Tensor


@torch.no_grad()
def embed_new_items(
    parameters: dict[str, Tensor], maps: dict[str, Tensor], modalities: dict[str, ContentSide], config: ModelConfig
) -> NewItems:
    """Vectors, content vectors and attention weights of new items.

    Args:
        parameters: of a trained `Micro`.
        maps: its `new_item_maps`.
        modalities: in the model's order of modalities.
        config: with the `content_weight` that training came to, where it was `auto`.
    """
    if config.item_graph_layers != 1:
        raise ValueError("new items can be embedded by a model with model.item_graph_layers = 1 only")
    own_content = modalities
    if config.absent == "mean":
        modalities = {name: _with_means(side) for name, side in modalities.items()}
    hidden, present = [], []
    for name, side in modalities.items():
        prefix = f"item_graphs.{name}.projection."
        hidden.append(_convolve(parameters["item_embedding_ID"], side, parameters, prefix, config))
        present.append(side.new_present_Q)
    fusion = FUSIONS[config.fusion](len(modalities), config.embedding_dim, torch.Generator())
    fusion.load_state_dict(
        {key.removeprefix("fusion."): value for key, value in parameters.items() if key.startswith("fusion.")}
    )
    fused_QD, weight_QM = fusion(torch.stack(hidden, dim=1), torch.stack(present, dim=1))
    content_QD = F.normalize(fused_QD, dim=1)
    own = {name: side.new for name, side in own_content.items()}
    content_weight = starting_weights(config).content_weight
    if config.new_items == "graphs":
        own_QD = content_weight * content_QD
    else:
        own_QD = mapped_content(maps, {name: side.new for name, side in modalities.items()})
    return NewItems(vector_QD=_joined(own_QD, maps, own), content_QD=content_QD, modality_weight_QM=weight_QM)


def new_item_maps(map_CD: Tensor, finished: Finished) -> dict[str, Tensor]:
    """What turns new items' content into released vectors, for a file: the content map, then the cut's parts.

    Raised like the catalogue's own new items. Older files hold `map_CD` alone.
    """
    maps, cut = {CONTENT: map_CD}, finished.cut
    if cut is None:
        return maps
    parts = (finished.new_item_scale * cut.item_JD).split(
        [map_CD.shape[1], *(axes.axis_FK.shape[1] for axes in finished.axes.values())]
    )
    maps[OWN] = parts[0]
    for (name, axes), part_KD in zip(finished.axes.items(), parts[1:], strict=True):
        maps |= {f"{MEAN}.{name}": axes.mean_F, f"{AXIS}.{name}": axes.axis_FK, f"{TASTE}.{name}": part_KD}
    return {name: value.contiguous() for name, value in maps.items()}


def content_vectors(maps: dict[str, Tensor], content: Content) -> Tensor:
    """Released vectors of new items by the content map alone, float32 (Q, D); 0 for an item without content.

    Args:
        maps: of `new_item_maps`, with `model.new_items` other than "graphs".
        content: of a model trained with `model.absent = "left-out"`.
    """
    return _joined(mapped_content(maps, content), maps, content)


def mapped_content(maps: dict[str, Tensor], content: Content) -> Tensor:
    """The model's own part of the vectors, before taste is joined, float32 (Q, C) times (C, D)."""
    return content_rows(list(content.values())) @ maps[CONTENT]


def _joined(own_QD: Tensor, maps: dict[str, Tensor], content: Content) -> Tensor:
    """The model's vectors joined with content and cut, where the model was."""
    if OWN not in maps:
        return own_QD
    joined_QD = own_QD @ maps[OWN]
    for name, (feature_QF, present_Q) in content.items():
        joined_QD += content_part(maps, name, feature_QF, present_Q)
    return joined_QD


def content_part(maps: dict[str, Tensor], name: str, feature_QF: Tensor, present_Q: Tensor) -> Tensor:
    """What an item's content in one modality adds to its vector, raised as a new item's, (Q, D)."""
    axes = ContentAxes(maps[f"{MEAN}.{name}"], maps[f"{AXIS}.{name}"])
    return axes.place(feature_QF, present_Q) @ maps[f"{TASTE}.{name}"]


def _with_means(side: ContentSide) -> ContentSide:
    """The catalogue's mean for known and new items that lack the modality."""
    mean_F, any_known = mean_of_present(side.known_IF, side.known_present_I), side.known_present_I.any()
    return ContentSide(
        known_IF=torch.where(side.known_present_I[:, None], side.known_IF, mean_F),
        known_present_I=side.known_present_I | any_known,
        new_QF=torch.where(side.new_present_Q[:, None], side.new_QF, mean_F),
        new_present_Q=side.new_present_Q | any_known,
    )


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
