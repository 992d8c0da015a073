"""placeholder"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of the model (method.md, sections 1 to 4)."""

    backbone: Literal["mf", "ngcf", "lightgcn"] = "lightgcn"
    embedding_dim: int = 64
    neighbours: int = 10
