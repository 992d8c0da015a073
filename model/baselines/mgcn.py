"""MGCN (Yu et al., ACM MM 2023, arXiv:2308.03588): content purified by behaviour, views fused by what users prefer.

    p_m = E_i * sigmoid(W (W_m x_m + b_m) + b), convolved over the item graph S_m; users take R p_m    (purifier)
    behaviour = LightGCN of the ID embeddings                                                          (user-item view)
    common = sum over modalities of softmax(q . tanh(W p_m + b)) p_m
    side = (common + sum of sigmoid(W_m' behaviour + b_m') * (p_m - common)) / (M + 1)                 (fuser)
    vector = behaviour + side, score = u . i
    loss = BPR + c (InfoNCE(side, behaviour) over the batch's items + the same over its users), temperature 0.2

S_m is MICRO's initial graph, R the symmetrically normalised interactions.
Deviations (docs/decisions/0023-baselines.md): features are L2-normalised and stay as they are (the authors' code trains
them further); an item that lacks a modality has no edge in its graph; InfoNCE takes each of the batch's users and
items once, at most `CONTRASTED` of them; in evaluation behaviour is zero for an item without interactions.
Shapes: U users, I items, N = U + I nodes, M modalities, D dimension, F feature dimension, P some of the rows.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.backbones.lightgcn import LightGCN
from model.config import ModelConfig
from model.data import TrainingData
from model.gather import gather_rows
from model.graph import nearest_neighbours
from model.micro import Vectors
from model.parallel import WHOLE, Columns
from model.ranking import RankingLoss
from model.sparse import CompressedRows, EdgePattern, SparseMatrix, constant_product
from model.user_item import UserItemGraph

CONTRASTED = 1024
TEMPERATURE = 0.2


@dataclass(frozen=True, kw_only=True)
class Views(Vectors):
    """With the two views that are contrasted."""

    behaviour_ND: Tensor
    side_ND: Tensor


@dataclass
class _UsersOfItems:
    """R and its transpose."""

    forward: CompressedRows
    backward: CompressedRows


class Mgcn(nn.Module):
    """`model.trainable.Trainable` like `Micro`; `config` gives dimension, neighbours, layers and modalities."""

    def __init__(
        self,
        data: TrainingData,
        config: ModelConfig,
        generator: Generator,
        columns: Columns = WHOLE,
        *,
        contrast: float = 0.01,
    ) -> None:
        """Build the graphs and initialise parameters (Xavier-uniform) from `generator`.

        Args:
            data, config, generator, columns: as for `Micro`.
            contrast: c.

        Raises `ValueError` where several processes train.
        """
        super().__init__()
        if columns != WHOLE:
            raise ValueError("MGCN is trained by one process")
        names = config.modalities_of(data.features)
        dim, device = config.embedding_dim, data.user_T.device
        self.contrast, self._layers = contrast, config.item_graph_layers
        self.features = [F.normalize(data.features[name], dim=1) * data.present[name][:, None] for name in names]
        self.user_embedding_UD = nn.Parameter(torch.empty(data.num_users, dim, device=device))
        self.item_embedding_ID = nn.Parameter(torch.empty(data.num_items, dim, device=device))
        with torch.device(device):
            self.projections = nn.ModuleList(nn.Linear(feature_IF.shape[1], dim) for feature_IF in self.features)
            self.purifiers = nn.ModuleList(nn.Linear(dim, dim) for _ in names)
            self.preferences = nn.ModuleList(nn.Linear(dim, dim) for _ in names)
            self.hidden, self.query = nn.Linear(dim, dim), nn.Linear(dim, 1, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter, generator=generator)
            else:
                nn.init.zeros_(parameter)
        self.item_graphs = [_item_graph(data, name, config) for name in names]
        graph = UserItemGraph(data, "symmetric")
        self.backbone = LightGCN(adjacency=graph, dim=dim, num_layers=config.backbone_layers, generator=generator)
        self._users_of_items = _UsersOfItems(graph.forward.to_user, graph.forward.to_item)
        self.trained_I = data.trained_items()
        self.content_weight = 0.0
        self.modality_items: tuple[Tensor, ...] = ()  # its contrast is its own

    def refresh_graphs(self, *, anew: bool = False) -> None:
        """Nothing to choose: the graphs are fixed."""

    def restore_graphs(self) -> None:
        """Nothing to build: the graphs are fixed."""

    def forward(self, user_B: Tensor | None = None, *, structure_gradient: bool = False) -> Views:
        """Return the vectors of everyone, whatever is asked for: `Vectors.of_users` chooses."""
        user_UD, item_ID = self.backbone(self.user_embedding_UD, self.item_embedding_ID)
        if not self.training:
            item_ID = item_ID * self.trained_I[:, None]
        behaviour_ND = torch.cat([user_UD, item_ID])
        modality_NMD = self._modalities()
        weight_NM1 = torch.softmax(self.query(torch.tanh(self.hidden(modality_NMD))), dim=1)
        common_ND = (weight_NM1 * modality_NMD).sum(1)
        side_ND = common_ND
        for modality_ND, preference in zip(modality_NMD.unbind(1), self.preferences, strict=True):
            side_ND = side_ND + torch.sigmoid(preference(behaviour_ND)) * (modality_ND - common_ND)
        side_ND = side_ND / (len(self.features) + 1)
        users, items = (behaviour_ND + side_ND).split([len(user_UD), len(item_ID)])
        content_ID = side_ND[len(user_UD) :]
        return Views(
            user_UD=users, item_ID=items, content_ID=content_ID, modality_IMD=modality_NMD[len(user_UD) :],
            modality_weight_IM=weight_NM1[len(user_UD) :, :, 0], fused_ID=content_ID,
            behaviour_ND=behaviour_ND, side_ND=side_ND,
        )  # fmt: skip

    def _modalities(self) -> Tensor:
        """Purified content of every modality over its item graph, and the users' mean of it, (N, M, D)."""
        modalities = []
        parts = zip(self.features, self.projections, self.purifiers, self.item_graphs, strict=True)
        for feature_IF, projection, purifier, graph in parts:
            item_ID = self.item_embedding_ID * torch.sigmoid(purifier(projection(feature_IF)))
            for _ in range(self._layers):
                item_ID = graph @ item_ID
            modalities.append(torch.cat([constant_product(self._users_of_items, item_ID), item_ID]))
        return torch.stack(modalities, dim=1)

    def own_loss(self, vectors: Vectors, batch: Any, ranking_loss: RankingLoss, generator: Generator) -> Tensor:
        """The contrast of the two views of the batch's users and items."""
        assert isinstance(vectors, Views), "own vectors"
        if not self.contrast:
            return vectors.item_ID.new_zeros(())
        user_P = _some(batch.user_B, generator)
        item_P = _some(torch.unique(batch.seen_P), generator) + len(vectors.user_UD)
        return self.contrast * (_info_nce(vectors, user_P) + _info_nce(vectors, item_P))


def _item_graph(data: TrainingData, name: str, config: ModelConfig) -> SparseMatrix:
    graph = nearest_neighbours(data.features[name], data.present[name], config.neighbours, config.graph)
    pattern = EdgePattern(*graph.edges(), (data.num_items, data.num_items))
    return SparseMatrix(pattern, graph.normalised().reshape(-1))


def _some(row_P: Tensor, generator: Generator) -> Tensor:
    return row_P[torch.randperm(len(row_P), generator=generator, device=row_P.device)[:CONTRASTED]]


def _info_nce(views: Views, node_P: Tensor) -> Tensor:
    """Each row's side view against the behaviour views of all these rows, its own among them as the right one."""
    side_PD = F.normalize(gather_rows(views.side_ND, node_P), dim=1)
    behaviour_PD = F.normalize(gather_rows(views.behaviour_ND, node_P), dim=1)
    every = torch.arange(len(node_P), device=node_P.device)
    return F.cross_entropy(side_PD @ behaviour_PD.T / TEMPERATURE, every)
