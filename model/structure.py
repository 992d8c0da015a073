"""Modality-aware latent structure: initial and learned item graphs, joined by a skip connection.

MICRO (arXiv:2111.00678), equations 1 to 6, and LATTICE (arXiv:2104.09036), whose idea it is.
Shapes: I items, D feature dimension, K neighbours, E edges.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from model.config import GraphMethod
from model.graph import (
    SEARCH,
    NeighbourGraph,
    Search,
    known_neighbours,
    nearest_neighbours,
    similarity_of_neighbours,
)
from model.parallel import WHOLE, Columns
from model.sparse import EdgePattern, SparseMatrix, weighted_product


class ItemGraph(nn.Module):
    """A = lambda S + (1 - lambda) S' of one modality; S from X once, S' from X W + b once per epoch.

    Where neighbours are searched approximately, those of S' are followed from epoch to epoch and are part of the
    module's state beside its parameters; an exact S' is a function of the parameters alone.

    Gradients reach W and b through the similarities that were kept, on the steps that ask for them
    (`with_gradient`); on the others A is a constant. Deviation from the paper: an item that lacks the
    modality has no edges here, instead of the mean vector.
    """

    def __init__(
        self,
        feature_ID: Tensor,
        present_I: Tensor,
        *,
        dim: int,
        num_neighbours: int,
        initial_weight: float,
        generator: Generator,
        method: GraphMethod = "exact",
        columns: Columns = WHOLE,
        search: Search = SEARCH,
    ) -> None:
        super().__init__()
        self.columns, self._search = columns, search
        self.feature_ID, self.present_I = feature_ID, present_I
        self.num_neighbours, self.initial_weight, self.method = num_neighbours, initial_weight, method
        self.initial = self._agreed(nearest_neighbours(feature_ID, present_I, num_neighbours, method, search=search))
        self._initial_weight_IK = self.initial.normalised() * initial_weight
        self.projection: nn.Linear | None = None
        if initial_weight < 1:
            projection = nn.Linear(feature_ID.shape[1], dim, dtype=feature_ID.dtype)
            nn.init.xavier_uniform_(projection.weight, generator=generator)
            nn.init.zeros_(projection.bias)
            self.projection = columns.projection(projection)
        self.learned: NeighbourGraph | None = None
        self.neighbour_IK: Tensor | None
        self.register_buffer("neighbour_IK", None)
        self.register_load_state_dict_pre_hook(_follow_what_is_there)  # type: ignore[no-untyped-call]
        self.refresh()

    @torch.no_grad()
    def refresh(self, *, anew: bool = False) -> None:
        """Choose the neighbours of the learned graph by the current W and b.

        An approximate search begins at the neighbours that it found last, unless it is to begin `anew`.
        """
        if self.projection is not None:
            projected_ID = self.columns.whole(self.projection(self.feature_ID))
            earlier_IK = None if anew else self.neighbour_IK
            self.learned = self._agreed(
                nearest_neighbours(
                    projected_ID, self.present_I, self.num_neighbours, self.method, earlier_IK, self._search
                )
            )
            self.neighbour_IK = None if self.learned.recall is None else self.learned.neighbour_IK
        self._combine()

    @torch.no_grad()
    def restore(self) -> None:
        """Build the learned graph for a state that has been loaded, as it was when that was saved."""
        if self.projection is None or self.neighbour_IK is None:
            self.refresh()
            return
        projected_ID = self.columns.whole(self.projection(self.feature_ID))
        self.learned = self._agreed(known_neighbours(projected_ID, self.present_I, self.neighbour_IK))
        self._combine()

    def _agreed(self, graph: NeighbourGraph) -> NeighbourGraph:
        """The first process's: where processes join their columns, an edge must be the same edge in each."""
        same = self.columns.same
        return replace(graph, neighbour_IK=same(graph.neighbour_IK), similarity_IK=same(graph.similarity_IK))

    def _combine(self) -> None:
        graphs = [self.initial] if self.learned is None else [self.initial, self.learned]
        edges = [graph.edges() for graph in graphs]
        num_items = len(self.feature_ID)
        row_E, column_E = (torch.cat(side) for side in zip(*edges, strict=True))
        self._pattern = EdgePattern(row_E, column_E, (num_items, num_items))
        self._constant = SparseMatrix(self._pattern, self._edge_weight())

    def recall(self) -> dict[str, float]:
        """Measured recall of the initial and the learned graph, of those that are approximate."""
        graphs = {"initial": self.initial, "learned": self.learned}
        return {name: graph.recall for name, graph in graphs.items() if graph is not None and graph.recall is not None}

    def _edge_weight(self) -> Tensor:
        """Weights of all edges, float32 (E,): the initial graph's, then the learned one's."""
        parts = [self._initial_weight_IK.reshape(-1)]
        if self.projection is not None and self.learned is not None:
            learned = similarity_of_neighbours(self.projection(self.feature_ID), self.learned, self.columns)
            parts.append((1 - self.initial_weight) * learned.normalised().reshape(-1))
        return torch.cat(parts)

    def propagate(self, item_ID: Tensor, *, with_gradient: bool) -> Tensor:
        """Return A E, float32 (I, D); a gradient for W and b only `with_gradient`."""
        if with_gradient and self.projection is not None:
            return weighted_product(self._pattern, self.columns.shared(self._edge_weight()), item_ID)
        return self._constant @ item_ID


def _follow_what_is_there(graph: ItemGraph, state: dict[str, Any], prefix: str, *_: object) -> None:
    """A state need not have neighbours to follow, as one of an exact graph has none: they are searched anew then."""
    name = f"{prefix}neighbour_IK"
    if graph.neighbour_IK is None:
        state.pop(name, None)
    elif name not in state:
        graph.neighbour_IK = None
