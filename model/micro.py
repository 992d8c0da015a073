"""MICRO (Zhang et al., arXiv:2111.00678) on any backbone; without modalities it is the plain backbone.

Shapes: U users, B some of the users, I items, M modalities, D dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn

from model.backbones import find_backbone
from model.config import ModelConfig, starting_weights
from model.content_map import ContentMap
from model.data import TrainingData
from model.fusion import FUSIONS
from model.gather import gather_rows
from model.graph import SEARCH, NeighbourGraph, Search
from model.parallel import WHOLE, Columns
from model.structure import ItemGraph
from model.user_item import UserItemGraph


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """The model's output for all items and for everyone, or some users; the score is `user_UD @ item_ID.T`."""

    user_UD: Tensor
    """A row for every user, or for each of `user_B`; read by `of_users` where it may be either."""
    item_ID: Tensor
    """Backbone's item vectors plus the weighted normalised content vectors; in evaluation, the content map's for items
    without interactions."""
    content_ID: Tensor
    """Fused content vectors h, L2-normalised; zero for an item without content."""
    modality_IMD: Tensor
    """h_m before fusion."""
    modality_weight_IM: Tensor
    """Attention weights; rows sum to 1, or to 0 without content."""
    fused_ID: Tensor
    """h before normalisation, for the contrastive term."""
    columns: Columns = WHOLE
    """Which of the D columns all of these have; modality weights are whole."""
    user_B: Tensor | None = None
    """int64 (B,); None: everyone."""

    def of_users(self, user_B: Tensor) -> Tensor:
        """Vectors (B, D) of users, int64 (B,); where some were asked for, of them: it must be the same tensor.

        Raises `ValueError` for another.
        """
        if self.user_B is None:
            return gather_rows(self.user_UD, user_B)
        if self.user_B is not user_B:
            raise ValueError("these vectors are of other users")
        return self.user_UD


class Micro(nn.Module):
    """ID embeddings, a backbone over the interactions, and item graphs fused by attention."""

    def __init__(
        self,
        data: TrainingData,
        config: ModelConfig,
        generator: Generator,
        columns: Columns = WHOLE,
        search: Search = SEARCH,
    ) -> None:
        """Build graphs and initialise parameters (Xavier-uniform) from `generator`.

        Raises `ValueError` when `config.modalities` names one that the data lacks, or D cannot be split over processes.
        """
        super().__init__()
        if config.absent == "mean":
            data = data.with_means()
        self.config, self.columns, self._search = config, columns, search
        self.content_weight = starting_weights(config).content_weight
        """Of `config`, or what training has come to."""
        self.modality_names = _chosen_modalities(data, config)
        dim = config.embedding_dim
        device = data.user_T.device
        self.user_embedding_UD = columns.xavier_uniform(data.num_users, dim, generator, device)
        self.item_embedding_ID = columns.xavier_uniform(data.num_items, dim, generator, device)
        adjacency = UserItemGraph(data, config.normalisation)
        with torch.device(device):
            self.backbone = find_backbone(config.backbone)(
                adjacency=adjacency, dim=dim, num_layers=config.backbone_layers, generator=generator, columns=columns
            )
            self.item_graphs = nn.ModuleDict(
                {name: self._item_graph(data, name, generator) for name in self.modality_names}
            )
            self.fusion = FUSIONS[config.fusion](len(self.modality_names), dim, generator, columns)
        self.trained_U, self.trained_I = data.trained_users(), data.trained_items()
        features = {name: data.features[name] for name in self.modality_names}
        self.content_map = ContentMap(features, data.present, self.trained_I, columns)
        present = [data.present[name] for name in self.modality_names]
        self.present_IM = torch.stack(present, dim=1) if present else torch.zeros(data.num_items, 0, dtype=torch.bool)
        self.modality_items = tuple(present_I.nonzero().squeeze(1) for present_I in present)

    def _item_graph(self, data: TrainingData, name: str, generator: Generator) -> ItemGraph:
        return ItemGraph(
            data.features[name],
            data.present[name],
            dim=self.config.embedding_dim,
            num_neighbours=self.config.neighbours,
            initial_weight=self.config.initial_graph_weight,
            generator=generator,
            method=self.config.graph,
            columns=self.columns,
            search=self._search,
        )

    def graph_recall(self) -> dict[str, dict[str, float]]:
        """Measured recall of the graphs that are approximate, by modality; nothing where all are exact."""
        graphs = cast("dict[str, ItemGraph]", dict(self.item_graphs.items()))
        recalls = {name: graph.recall() for name, graph in graphs.items()}
        return {name: recall for name, recall in recalls.items() if recall}

    def refresh_graphs(self, *, anew: bool = False) -> None:
        """Choose the neighbours of every learned graph by the current parameters (`ItemGraph.refresh`)."""
        for graph in self._graphs():
            graph.refresh(anew=anew)

    def restore_graphs(self) -> None:
        """Build every learned graph for a state that has been loaded (`ItemGraph.restore`)."""
        for graph in self._graphs():
            graph.restore()

    def initial_graphs(self) -> list[NeighbourGraph]:
        """The graphs of the pretrained features, in the order of `modality_names`."""
        return [graph.initial for graph in self._graphs()]

    def forward(self, user_B: Tensor | None = None, *, structure_gradient: bool = False) -> Vectors:
        """Propagate everything.

        Args:
            user_B: int64, users whose vectors are wanted, each once; None: everyone's.
            structure_gradient: let gradients reach the learned graphs' W and b.
        """
        embeddings = self.user_embedding_UD, self.item_embedding_ID
        user_UD, item_ID = self.backbone(*embeddings) if user_B is None else self.backbone.of_users(*embeddings, user_B)
        if not self.modality_names:
            empty = item_ID.new_zeros(len(item_ID), 0, item_ID.shape[1])
            zero_ID = torch.zeros_like(item_ID)
            return Vectors(
                user_UD=user_UD, item_ID=item_ID, content_ID=zero_ID, modality_IMD=empty,
                modality_weight_IM=empty[..., 0], fused_ID=zero_ID, columns=self.columns, user_B=user_B,
            )  # fmt: skip
        modality_IMD, fused_ID, weight_IM = self._content(structure_gradient)
        content_ID = self.columns.unit_rows(fused_ID)
        item_ID = torch.add(item_ID, content_ID, alpha=self.content_weight)
        if not self.training:
            item_ID = self._with_new_items(item_ID)
        return Vectors(
            user_UD=user_UD, item_ID=item_ID, content_ID=content_ID, modality_IMD=modality_IMD,
            modality_weight_IM=weight_IM, fused_ID=fused_ID, columns=self.columns, user_B=user_B,
        )  # fmt: skip

    def _with_new_items(self, item_ID: Tensor) -> Tensor:
        """Give items without interactions the content map's vectors, if configured."""
        new = (~self.trained_I).nonzero().squeeze(1)
        if self.config.new_items == "graphs" or not len(new):
            return item_ID
        return item_ID.index_copy(0, new, self.content_map.apply(self.content_map.fit(item_ID), new))

    def _graphs(self) -> list[ItemGraph]:
        return cast("list[ItemGraph]", list(self.item_graphs.values()))

    def _content(self, structure_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Convolve the item embeddings over the graphs; return modality_IMD, fused_ID and weight_IM."""
        hidden: Sequence[Tensor] = [self.item_embedding_ID] * len(self.modality_names)
        for _ in range(self.config.item_graph_layers):
            graphs = zip(self._graphs(), hidden, strict=True)
            modality_IMD = torch.stack(
                [graph.propagate(hidden_ID, with_gradient=structure_gradient) for graph, hidden_ID in graphs], dim=1
            )
            fused_ID, weight_IM = self.fusion(modality_IMD, self.present_IM)
            mixed = self.config.fusion == "graph"  # LATTICE's next layer begins with what this one was mixed to
            hidden = [fused_ID] * len(self.modality_names) if mixed else modality_IMD.unbind(1)
        return modality_IMD, fused_ID, weight_IM


def _chosen_modalities(data: TrainingData, config: ModelConfig) -> list[str]:
    chosen = config.modalities_of(data.features)
    unknown = [name for name in chosen if name not in data.features]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"model.modalities names one twice: {chosen}")
    if unknown:
        raise ValueError(f"model.modalities names {unknown}; there are features for {sorted(data.features)}")
    return chosen
