"""The plain formulation: what the paper's equations come to when they are written down directly.

N x N similarities for graphs and contrast, coalesced COO matrices, a heap per user. Written for comparison
(docs/benchmarks.md), never used by the program; tests hold it against the fast code, so both compute the same.
Shapes: U users, I items, N = U + I nodes, B batch, D dimension, M modalities.
"""

import heapq
import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data import TrainingData

LAYERS, TEMPERATURE, BETA, L2, LAMBDA = 2, 0.5, 0.03, 1e-5, 0.9
BATCH_SIZE, LEARNING_RATE = 1024, 5e-4


def similarity_graph(feature_ID: Tensor, num_neighbours: int) -> Tensor:
    """D^-1/2 S D^-1/2 as a dense (I, I), S the k largest clipped cosines of each row."""
    unit_ID = feature_ID / feature_ID.norm(dim=1, keepdim=True)
    similarity_II = unit_ID @ unit_ID.T
    value_IK, index_IK = similarity_II.topk(num_neighbours, dim=1)
    kept_II = torch.zeros_like(similarity_II).scatter(1, index_IK, value_IK.clamp(min=0))
    scale_I = kept_II.sum(1).pow(-0.5)
    scale_I = torch.where(torch.isinf(scale_I), 0.0, scale_I)
    return scale_I[:, None] * kept_II * scale_I[None, :]


def contrastive_loss(modality_ID: Tensor, fused_ID: Tensor) -> Tensor:
    """The contrastive term of one modality over all items: two (I, I) matrices of exponentials."""
    first_ID, second_ID = F.normalize(modality_ID), F.normalize(fused_ID)
    within_II = torch.exp(first_ID @ first_ID.T / TEMPERATURE)
    between_II = torch.exp(first_ID @ second_ID.T / TEMPERATURE)
    denominator_I = within_II.sum(1) + between_II.sum(1) - within_II.diag()
    return -torch.log(between_II.diag() / denominator_I).mean()


def bipartite(data: TrainingData) -> Tensor:
    """D^-1/2 A D^-1/2 of the user-item graph, coalesced COO (N, N)."""
    num_nodes = data.num_users + data.num_items
    row = torch.cat([data.user_T, data.item_T + data.num_users])
    column = torch.cat([data.item_T + data.num_users, data.user_T])
    degree_N = torch.bincount(row, minlength=num_nodes).float()
    weight = (degree_N[row] * degree_N[column]).rsqrt()
    shape = (num_nodes, num_nodes)
    return torch.sparse_coo_tensor(torch.stack([row, column]), weight, shape, check_invariants=False).coalesce()


class PlainMicro(torch.nn.Module):
    """MICRO on LightGCN."""

    def __init__(self, data: TrainingData, dim: int = 64, num_neighbours: int = 10) -> None:
        super().__init__()
        self.num_users, self.num_neighbours = data.num_users, num_neighbours
        self.features = data.features
        self.adjacency = bipartite(data)
        self.user_embedding = torch.nn.Embedding(data.num_users, dim)
        self.item_embedding = torch.nn.Embedding(data.num_items, dim)
        for embedding in (self.user_embedding, self.item_embedding):
            torch.nn.init.xavier_uniform_(embedding.weight)
        self.projections = torch.nn.ModuleDict(
            {name: torch.nn.Linear(feature.shape[1], dim) for name, feature in data.features.items()}
        )
        self.attention = torch.nn.Sequential(
            torch.nn.Linear(dim, dim), torch.nn.Tanh(), torch.nn.Linear(dim, 1, bias=False)
        )
        self.initial = {name: similarity_graph(feature, num_neighbours) for name, feature in data.features.items()}
        self.graphs: dict[str, Tensor] = {}

    def build_graphs(self) -> None:
        """Choose the learned neighbours anew; gradients reach the projections until the next `detach_graphs`."""
        for name, feature in self.features.items():
            learned = similarity_graph(self.projections[name](feature), self.num_neighbours)
            self.graphs[name] = LAMBDA * self.initial[name] + (1 - LAMBDA) * learned

    def detach_graphs(self) -> None:
        """Make the graphs constants, sparse ones."""
        self.graphs = {name: graph.detach().to_sparse().coalesce() for name, graph in self.graphs.items()}

    def forward(self) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
        """Return user_UD, item_ID, every modality's h_m, and h."""
        item_ID = self.item_embedding.weight
        modality = [torch.mm(graph, item_ID) for graph in self.graphs.values()]
        weight = torch.softmax(torch.cat([self.attention(hidden) for hidden in modality], dim=1), dim=1)
        fused_ID = torch.stack([weight[:, [index]] * hidden for index, hidden in enumerate(modality)]).sum(0)
        layers = [torch.cat([self.user_embedding.weight, item_ID])]
        for _ in range(LAYERS):
            layers.append(torch.sparse.mm(self.adjacency, layers[-1]))
        user_UD, backbone_ID = torch.stack(layers).mean(0).split([self.num_users, len(item_ID)])
        return user_UD, backbone_ID + F.normalize(fused_ID), modality, fused_ID


def objective(model: PlainMicro, user_B: Tensor, seen_B: Tensor, unseen_B: Tensor) -> Tensor:
    """BPR, L2 and the contrastive term of every modality."""
    user_UD, item_ID, modality, fused_ID = model()
    user, seen, unseen = user_UD[user_B], item_ID[seen_B], item_ID[unseen_B]
    bpr = -F.logsigmoid((user * seen).sum(1) - (user * unseen).sum(1)).mean()
    l2 = 0.5 * (user.square().sum() + seen.square().sum() + unseen.square().sum()) / len(user_B)
    contrast = torch.stack([contrastive_loss(hidden, fused_ID) for hidden in modality]).sum()
    total: Tensor = bpr + L2 * l2 + BETA * contrast
    return total


class PlainTrainer:
    """Steps one at a time; the first of an epoch builds the graphs."""

    def __init__(self, data: TrainingData) -> None:
        self.model = PlainMicro(data)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.num_items = data.num_items
        self.seen = item_sets(data.user_T, data.item_T)
        self.users = list(self.seen)
        self.seen_lists = {user: list(items) for user, items in self.seen.items()}
        self.steps_per_epoch = math.ceil(len(data.user_T) / BATCH_SIZE)

    def sample(self) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of triples: one user after the other, unseen items by trial."""
        users = (
            random.sample(self.users, BATCH_SIZE)
            if len(self.users) >= BATCH_SIZE
            else random.choices(self.users, k=BATCH_SIZE)
        )
        seen = [random.choice(self.seen_lists[user]) for user in users]
        unseen = []
        for user in users:
            item = random.randrange(self.num_items)
            while item in self.seen[user]:
                item = random.randrange(self.num_items)
            unseen.append(item)
        return torch.tensor(users), torch.tensor(seen), torch.tensor(unseen)

    def step(self, *, first: bool) -> float:
        """One step of an epoch."""
        if first:
            self.model.build_graphs()
        loss = objective(self.model, *self.sample())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if first:
            self.model.detach_graphs()
        return float(loss.detach())


def item_sets(user_P: Tensor, item_P: Tensor) -> dict[int, set[int]]:
    """The items of every user."""
    items: dict[int, set[int]] = {}
    for user, item in zip(user_P.tolist(), item_P.tolist(), strict=True):
        items.setdefault(user, set()).add(item)
    return items


def evaluate(
    user_UD: Tensor, item_ID: Tensor, seen: dict[int, set[int]], relevant: dict[int, set[int]], cutoff: int
) -> dict[str, float]:
    """Recall, precision and NDCG at one cutoff, user after user: a heap over all unseen items."""
    totals = {"recall": 0.0, "precision": 0.0, "ndcg": 0.0}
    for user, wanted in relevant.items():
        score = (user_UD[user] @ item_ID.T).tolist()
        had = seen.get(user, set())
        allowed = {item: score[item] for item in range(len(score)) if item not in had}
        ranked = heapq.nlargest(cutoff, allowed, key=allowed.__getitem__)
        hits = [1 if item in wanted else 0 for item in ranked]
        gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
        ideal = sum(1 / math.log2(place + 2) for place in range(min(cutoff, len(wanted))))
        totals["recall"] += sum(hits) / len(wanted)
        totals["precision"] += sum(hits) / cutoff
        totals["ndcg"] += gain / ideal
    return {name: total / len(relevant) for name, total in totals.items()}
