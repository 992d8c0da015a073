"""VBPR: factors of the pretrained features beside those of the interactions (He & McAuley, arXiv:1510.01784).

    s_ui = p_u . q_i + t_u . (E f_i)

as one inner product of concatenated vectors, so that it is trained, measured and exported like the model. The two
parts share the embedding dimension, half each. Deviations (docs/decisions/0023-baselines.md): no bias terms; the
features of all modalities are concatenated, each L2-normalised, absent ones zero; in evaluation q is zero for an item
without interactions, where training has left it at random.
Shapes: U users, I items, D dimension, F feature dimension of all modalities.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from model.config import ModelConfig
from model.data import TrainingData
from model.micro import Vectors
from model.parallel import WHOLE, Columns


class Vbpr(nn.Module):
    """`model.trainable.Trainable` like `Micro`; `config` gives the embedding dimension and the modalities."""

    def __init__(self, data: TrainingData, config: ModelConfig, generator: Generator, columns: Columns = WHOLE) -> None:
        """Initialise parameters (Xavier-uniform) from `generator`.

        Raises `ValueError` where several processes train.
        """
        super().__init__()
        if columns != WHOLE:
            raise ValueError("VBPR is trained by one process")
        names = config.modalities_of(data.features)
        parts = [F.normalize(data.features[name], dim=1) * data.present[name][:, None] for name in names]
        self.feature_IF = torch.cat(parts, dim=1)
        device, dim = data.user_T.device, config.embedding_dim
        self.user_embedding_UD = nn.Parameter(torch.empty(data.num_users, dim, device=device))
        self.item_embedding_ID = nn.Parameter(torch.empty(data.num_items, dim // 2, device=device))
        self.projection = nn.Linear(self.feature_IF.shape[1], dim - dim // 2, bias=False, device=device)
        for weight in (self.user_embedding_UD, self.item_embedding_ID, self.projection.weight):
            nn.init.xavier_uniform_(weight, generator=generator)
        self.trained_I = data.trained_items()
        self.content_weight = 0.0
        self.modality_items: tuple[Tensor, ...] = ()  # no contrast

    def refresh_graphs(self, *, anew: bool = False) -> None:
        """Nothing to choose: there are no graphs."""

    def restore_graphs(self) -> None:
        """Nothing to build: there are no graphs."""

    def forward(self, user_B: Tensor | None = None, *, structure_gradient: bool = False) -> Vectors:
        """Return the concatenated vectors, of everyone whatever is asked for: `Vectors.of_users` chooses."""
        content_ID: Tensor = self.projection(self.feature_IF)
        own_ID: Tensor = self.item_embedding_ID
        if not self.training:
            own_ID = own_ID * self.trained_I[:, None]
        empty = content_ID.new_zeros(len(content_ID), 0, content_ID.shape[1])
        return Vectors(
            user_UD=self.user_embedding_UD, item_ID=torch.cat([own_ID, content_ID], dim=1),
            content_ID=content_ID, modality_IMD=empty, modality_weight_IM=empty[..., 0], fused_ID=content_ID,
        )  # fmt: skip
