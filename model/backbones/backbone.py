"""What a collaborative-filtering backbone is.

Shapes: U users, I items, B some of the users, D dimension.
"""

from typing import ClassVar

from torch import Tensor, nn

from model.gather import gather_rows

BY_NAME: dict[str, type["Backbone"]] = {}
"""Those of the files imported so far; `find_backbone` imports all."""


class Backbone(nn.Module):
    """Turns ID embeddings into propagated ones.

    A subclass in a file of its own under `model/backbones/` is all that a new backbone takes:
    `class Mine(Backbone, name="mine")` is what `model.backbone = "mine"` trains. Its `__init__` takes, by keyword,
    `adjacency`: normalised, (U+I, U+I), users first, `adjacency @ node_ND` its product; `dim`: D; `num_layers`:
    `model.backbone_layers`, at least 0; `generator`: what every random number is drawn from; `columns`: which of the
    D columns this process has (`model.parallel`), for what joins columns.
    """

    node_tensors: ClassVar[int]
    """How many float32 matrices (U+I, D) it holds between forward and backward pass, for `model.memory`."""

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        known = BY_NAME.setdefault(name, cls).__module__
        if known != cls.__module__:
            raise ValueError(f"{cls.__module__}: {known} has a backbone {name!r}; choose another name")

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return vectors of the same shapes."""
        raise NotImplementedError

    def of_users(self, user_UD: Tensor, item_ID: Tensor, user_B: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` returns, with the vectors of these users only, int64 (B,), each once.

        Overridden where that is less work.
        """
        user_UD, item_ID = self(user_UD, item_ID)
        return gather_rows(user_UD, user_B), item_ID
