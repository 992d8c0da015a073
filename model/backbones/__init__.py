"""Collaborative-filtering backbones. A new one is one file here: docs/development.md.

Shapes: U users, I items.
"""

import difflib
import pkgutil
from importlib import import_module

from torch import Generator

from model.backbones.backbone import BY_NAME, Backbone
from model.parallel import WHOLE, Columns
from model.user_item import UserItemGraph

__all__ = ["Backbone", "find_backbone", "make_backbone"]


def find_backbone(name: str) -> type[Backbone]:
    """The backbone of that name, in whichever file of this folder.

    Raises `ValueError` for a name that none has, with the nearest.
    """
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    if name not in BY_NAME:
        near = difflib.get_close_matches(name, BY_NAME, n=1)
        nearest = f"; the nearest is {near[0]!r}" if near else ""
        raise ValueError(f"backbone {name!r} is unknown; use one of {', '.join(sorted(BY_NAME))}{nearest}")
    return BY_NAME[name]


def make_backbone(
    name: str,
    adjacency: UserItemGraph,
    dim: int,
    num_layers: int,
    generator: Generator,
    columns: Columns = WHOLE,
) -> Backbone:
    """Build a backbone over the normalised bipartite adjacency (U+I, U+I); users come first."""
    make = find_backbone(name)
    return make(adjacency=adjacency, dim=dim, num_layers=num_layers, generator=generator, columns=columns)
