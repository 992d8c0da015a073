"""Matrix factorisation: the ID embeddings themselves (Rendle et al., BPR, arXiv:1205.2618)."""

from torch import Tensor

from model.backbones.backbone import Backbone


class MF(Backbone):
    """No propagation at all."""

    node_tensors = 1

    def forward(self, user_UD: Tensor, item_ID: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings as they are."""
        return user_UD, item_ID
