"""Collaborative-filtering backbones, by name. A new one is one file, one line here and a name in `model.config`.

docs/how-to/develop.md has an example.
"""

from model.backbones.backbone import Backbone
from model.backbones.lightgcn import LightGCN
from model.backbones.mf import MF
from model.backbones.ngcf import NGCF
from model.config import BackboneName, backbone_name

__all__ = ["BACKBONES", "Backbone", "find_backbone"]

BACKBONES: dict[BackboneName, type[Backbone]] = {
    "lightgcn": LightGCN,
    "mf": MF,
    "ngcf": NGCF,
}


def find_backbone(name: str) -> type[Backbone]:
    """The backbone of that name. Raises `ValueError` for a name that none has, with the nearest."""
    return BACKBONES[backbone_name(name)]
