"""Collaborative-filtering backbones. A new one is one file here and one line in `BACKBONES`.

Shapes: U users, I items, D dimension.
"""

from typing import Protocol

from torch import Generator, Tensor

from model.backbones.lightgcn import LightGCN
from model.backbones.mf import MF
from model.backbones.ngcf import NGCF
from model.parallel import WHOLE, Columns
from model.sparse import SparseMatrix


class Backbone(Protocol):
    """Turns ID embeddings into propagated ones."""

    def __call__(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors of the same shapes."""
        ...


BACKBONES: dict[str, type[MF | LightGCN | NGCF]] = {"mf": MF, "lightgcn": LightGCN, "ngcf": NGCF}


def make_backbone(
    name: str,
    adjacency: SparseMatrix,
    dim: int,
    num_layers: int,
    generator: Generator,
    columns: Columns = WHOLE,
) -> MF | LightGCN | NGCF:
    """Build a backbone over the normalised bipartite adjacency (U+I, U+I); users come first."""
    make = BACKBONES[name]
    return make(adjacency=adjacency, dim=dim, num_layers=num_layers, generator=generator, columns=columns)
