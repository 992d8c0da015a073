"""FREEDOM (Zhou & Shen, arXiv:2211.06924): a frozen item graph from content, and a user-item graph that is denoised.

    S = sum over modalities of share_m D^-1/2 S_m D^-1/2, S_m with 1 for the K items nearest by content, never changed
    u = LightGCN over the kept interactions, i = the same + S^L E_i
    loss = BPR(u, i) + lambda sum over modalities of BPR(u, W_m x_m,i + b_m)

Every epoch keeps round((1 - dropout) T) interactions, drawn without replacement in proportion to 1 / sqrt(d_u d_i):
those of busy users with popular items go first. Evaluation propagates over all of them.
Deviations (docs/decisions/0023-baselines.md): features are L2-normalised and stay as they are (the authors' code trains
them further); an item has no edge, and a vector of zeros, in a modality that it lacks; L2 of the batch's vectors, as in
the loop (the authors: none); in evaluation LightGCN's part is zero for an item without interactions.
Shapes: U users, I items, T training interactions, K neighbours, E edges, M modalities, B some users, D and F dimensions
of vectors and features.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.backbones.lightgcn import LightGCN
from model.config import ModelConfig
from model.data import TrainingData
from model.graph import nearest_neighbours
from model.micro import Vectors
from model.normalisation import normalise_edges
from model.parallel import WHOLE, Columns
from model.ranking import RankingLoss
from model.sampling import TripleBatch
from model.sparse import EdgePattern, SparseMatrix
from model.user_item import UserItemGraph


class Freedom(nn.Module):
    """`model.trainable.Trainable` like `Micro`; `config` gives dimension, neighbours, layers and modalities."""

    kept_T: Tensor

    def __init__(
        self,
        data: TrainingData,
        config: ModelConfig,
        generator: Generator,
        columns: Columns = WHOLE,
        *,
        dropout: float = 0.8,
        modality_weight: float = 1e-3,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """Build the graphs and initialise parameters (Xavier-uniform) from `generator`.

        Args:
            data, config, generator, columns: as for `Micro`.
            dropout: share of the interactions that an epoch leaves out, in [0, 1).
            modality_weight: lambda.
            shares: what each modality counts in the item graph; None: all alike.

        Raises `ValueError` where several processes train.
        """
        super().__init__()
        if columns != WHOLE:
            raise ValueError("FREEDOM is trained by one process")
        names = config.modalities_of(data.features)
        self.modality_weight, self._dropout, self._generator = modality_weight, dropout, generator
        self._layers, self._ui_layers, self._dim = (
            config.item_graph_layers,
            config.backbone_layers,
            config.embedding_dim,
        )
        self._interactions = replace(data, features={}, present={}, weight_T=None)
        device = data.user_T.device
        self.user_embedding_UD = nn.Parameter(torch.empty(data.num_users, self._dim, device=device))
        self.item_embedding_ID = nn.Parameter(torch.empty(data.num_items, self._dim, device=device))
        self.features = [F.normalize(data.features[name], dim=1) * data.present[name][:, None] for name in names]
        self.present = [data.present[name] for name in names]
        self.projections = nn.ModuleList(
            nn.Linear(feature_IF.shape[1], self._dim, device=device) for feature_IF in self.features
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)
        self.trained_I = data.trained_items()
        self.item_graph = frozen_item_graph(data, shares or dict.fromkeys(names, 1.0), config)
        self.content_weight = 0.0
        self.modality_items: tuple[Tensor, ...] = ()  # no contrast
        self._whole = self._propagation(self._interactions)
        self.register_buffer("kept_T", torch.ones(len(data.user_T), dtype=torch.bool, device=device))
        self.refresh_graphs()

    def refresh_graphs(self, *, anew: bool = False) -> None:
        """Draw the interactions of the next epoch."""
        if self._dropout:
            kept = keep_by_degree(self._interactions, self._dropout, self._generator)
            self.kept_T = torch.zeros_like(self.kept_T).index_fill_(0, kept, value=True)
        self.restore_graphs()

    def restore_graphs(self) -> None:
        """Build the graph of the interactions that were drawn."""
        data = self._interactions
        kept = replace(data, user_T=data.user_T[self.kept_T], item_T=data.item_T[self.kept_T])
        self._kept = self._propagation(kept) if self._dropout else self._whole

    def _propagation(self, data: TrainingData) -> LightGCN:
        graph = UserItemGraph(data, "symmetric")
        return LightGCN(adjacency=graph, dim=self._dim, num_layers=self._ui_layers, generator=self._generator)

    def forward(self, user_B: Tensor | None = None, *, structure_gradient: bool = False) -> Vectors:
        """Propagate over both graphs; in training over the interactions that are kept."""
        backbone = self._kept if self.training else self._whole
        embeddings = self.user_embedding_UD, self.item_embedding_ID
        user_UD, item_ID = backbone(*embeddings) if user_B is None else backbone.of_users(*embeddings, user_B)
        content_ID: Tensor = self.item_embedding_ID
        for _ in range(self._layers):
            content_ID = self.item_graph @ content_ID
        if not self.training:
            item_ID = item_ID * self.trained_I[:, None]
        modality_IMD = content_ID.new_zeros(len(content_ID), 0, self._dim)  # the loss projects what it looks at
        return Vectors(
            user_UD=user_UD, item_ID=item_ID + content_ID, content_ID=content_ID, modality_IMD=modality_IMD,
            modality_weight_IM=modality_IMD[..., 0], fused_ID=content_ID, user_B=user_B,
        )  # fmt: skip

    def own_loss(self, vectors: Vectors, batch: TripleBatch, ranking_loss: RankingLoss, generator: Generator) -> Tensor:
        """The ranking loss of the users' vectors with every modality's projected features."""
        total = vectors.item_ID.new_zeros(())
        if not self.modality_weight:
            return total
        item_P = torch.unique(torch.cat([batch.seen_P, batch.unseen_P]))
        for projection, feature_IF, present_I in zip(self.projections, self.features, self.present, strict=True):
            projected_PD = projection(feature_IF[item_P]) * present_I[item_P, None]
            projected_ID = torch.zeros_like(vectors.item_ID).index_copy(0, item_P, projected_PD)
            total = total + ranking_loss.terms(replace(vectors, item_ID=projected_ID), batch, generator)[0]
        return self.modality_weight * total


def frozen_item_graph(data: TrainingData, shares: Mapping[str, float], config: ModelConfig) -> SparseMatrix:
    """S: an item and its K - 1 nearest have weight 1 before normalisation, whatever their cosine."""
    total = sum(shares.values())
    rows: list[Tensor] = []
    columns: list[Tensor] = []
    weights: list[Tensor] = []
    for name, share in shares.items():
        graph = nearest_neighbours(data.features[name], data.present[name], config.neighbours, config.graph)
        row_E, column_E = graph.edges()
        one_E = (graph.similarity_IK > 0).float().reshape(-1)
        rows.append(row_E)
        columns.append(column_E)
        weights.append(share / total * normalise_edges(row_E, column_E, one_E, data.num_items))
    pattern = EdgePattern(torch.cat(rows), torch.cat(columns), (data.num_items, data.num_items))
    return SparseMatrix(pattern, torch.cat(weights))


def keep_by_degree(data: TrainingData, dropout: float, generator: Generator) -> Tensor:
    """Draw the interactions to keep, int64: without replacement, each in proportion to 1 / sqrt(d_u d_i).

    The smallest of exponential draws divided by the weights are such a sample (Efraimidis & Spirakis 2006).
    """
    degree_U = torch.bincount(data.user_T, minlength=data.num_users).float()
    degree_I = torch.bincount(data.item_T, minlength=data.num_items).float()
    draw_T = torch.empty(len(data.user_T), device=data.user_T.device).exponential_(generator=generator)
    key_T = draw_T * (degree_U[data.user_T] * degree_I[data.item_T]).sqrt()
    return key_T.topk(max(1, round((1 - dropout) * len(key_T))), largest=False).indices
