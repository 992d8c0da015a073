"""Memory that a training will take, from its counts alone. It is said before the start, so training need not fail.

Counted are the tensors that live at once at the widest point of training on a CPU, where resident memory is what
runs out. `Trainer` must have been given `freed_memory_kept` (`model.allocator`): the gaps are those of its one heap.
`bench/preflight.py` holds the prediction against the measured peak.
Shapes: U users, I items, N = U + I nodes, T interactions, E edges, D dimension, K neighbours, M modalities.
"""

from dataclasses import dataclass

import torch

from model.backbones import find_backbone
from model.config import ModelConfig, TrainConfig
from model.content_map import BLOCK_ELEMENTS as CONTENT_ELEMENTS
from model.data import TrainingData
from model.exact import HALVES, ROWS
from model.finishing.taste import COLUMNS as TASTE_COLUMNS
from model.finishing.validation import USERS_AT_MOST
from model.graph import SEARCH
from model.parallel import Columns

CPU = torch.device("cpu")
STEP = ("propagation", "content", "batch")  # parts that live while a step runs
FLOAT, INDEX, LONG = 4, 4, 8  # bytes
GIB = 1 << 30
PARAMETER_COPIES = 5  # values, gradients, two moments of Adam, the best check's
REVERSE_COPIES = 6  # of the neighbours, sorted by neighbour
GAPS = 1.5  # memory of a step relative to what it holds, if `model.allocator` keeps freed blocks until an epoch's end
LIBRARIES = 1 << 27  # what torch takes the first time that it multiplies, differentiates and steps


@dataclass(frozen=True)
class Prediction:
    """Bytes by part."""

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in self.parts.items())
        return f"{self.total / GIB:.2f} GiB ({listed})"


def predicted_peak(data: TrainingData, model: ModelConfig, config: TrainConfig, processes: int = 1) -> Prediction:
    """Bytes that training adds to what a program takes before its data are loaded.

    Args:
        data: only its counts and the features' shapes are looked at.
        processes: that train together; the prediction is for each.

    Raises `ValueError` where the embeddings cannot be split over them.
    """
    dims = [
        feature_ID.shape[1]
        for name, feature_ID in data.features.items()
        if model.modalities is None or name in model.modalities
    ]
    dim, num_nodes = Columns(count=processes).width(model.embedding_dim), data.num_users + data.num_items
    edges = 2 * len(data.user_T) + (2 * num_nodes if model.normalisation == "row" else 0)
    graph_edges = 2 * data.num_items * model.neighbours
    width = len(dims)
    item_matrix = data.num_items * dim * FLOAT
    parameters = num_nodes * dim + sum(dim * (size + 1) for size in dims) + dim * (model.embedding_dim + 2)
    parts = {
        "interactions": len(data.user_T) * LONG * 12,
        "features": sum(data.num_items * size * FLOAT for size in dims) * (2 if model.absent == "mean" else 1),
        "user-item graph": edges * 2 * (FLOAT + INDEX),
        "item graphs": width * graph_edges * (4 * LONG + 2 * INDEX + 3 * FLOAT),
        "parameters": parameters * FLOAT * PARAMETER_COPIES,
        "propagation": num_nodes * dim * FLOAT * find_backbone(model.backbone).node_tensors,
        "content": item_matrix * (6 * width + 4),
        "batch": config.interactions_per_step(len(data.user_T)) * dim * FLOAT * 8,
        "libraries": LIBRARIES,
    }
    if SEARCH.is_approximate(model.graph, data.num_items, CPU):
        parts["item graphs"] += width * data.num_items * model.neighbours * LONG * 2  # followed; of the best check
    if config.objective.ranking == "squares":
        parts["batch"] += 3 * item_matrix  # the trained items' rows, their gradient, and where it came from
    for name in STEP:
        parts[name] = int(GAPS * parts[name])
    building = [_graph_building(data.num_items, size, model) for size in [*dims, model.embedding_dim]]
    parts["building graphs"] = max(*building, _content_mapping(sum(size + 1 for size in dims)))
    parts["finishing"] = _finishing(data, dims, model) if dims and model.wants_finishing else 0
    return Prediction(_without_overlap(parts))


def _graph_building(num_items: int, dim: int, model: ModelConfig) -> int:
    """The normalised features and a block of similarities; with faiss its copy of them and sorted neighbours."""
    faiss = SEARCH.is_approximate(model.graph, num_items, CPU)
    copies = 3 if faiss else 2
    wide = dim >= SEARCH.wide
    rows = (HALVES if wide else ROWS).rows(num_items, CPU)
    block = 2 * min(SEARCH.half_rows, rows) if wide else rows
    followed = REVERSE_COPIES * model.neighbours * LONG if faiss else 0
    return num_items * ((dim * copies + block) * FLOAT + followed)


def _content_mapping(width: int) -> int:
    """Second moments of the content, their eigenvectors and what these are found in, in double precision."""
    return 4 * width * width * LONG + CONTENT_ELEMENTS * FLOAT


def _finishing(data: TrainingData, dims: list[int], model: ModelConfig) -> int:
    """Content columns, all joined columns of the items and a sample's, the history, vectors before and after."""
    content = sum(min(size, TASTE_COLUMNS) for size in dims)
    joined = model.embedding_dim + content
    items = data.num_items * (content + 2 * joined + 2 * model.embedding_dim)
    users = min(data.num_users, USERS_AT_MOST) * joined + 2 * data.num_users * model.embedding_dim
    return (items + users) * FLOAT + len(data.user_T) * LONG * 6 + _content_mapping(max(dims))


def _without_overlap(parts: dict[str, int]) -> dict[str, int]:
    """Steps, the building of graphs and the finishing follow each other: of the three only the largest counts."""
    phases = [STEP, ("building graphs",), ("finishing",)]
    largest = max(phases, key=lambda phase: sum(parts[name] for name in phase))
    return {name: size for name, size in parts.items() if name in largest or not any(name in p for p in phases)}
