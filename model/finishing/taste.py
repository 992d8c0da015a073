"""A user's taste in content: the mean content of what the user has, to be multiplied with an item's content.

    x_i = unit(max(L, 1e-6)^-p V^T unit(f_i - mean of those present)), 0 where the item lacks the modality
    p_u = unit(sum of x_i over u's training items)

with V and L the leading eigenvectors and eigenvalues of the content's second moments (whitening by PCA; p = 1/2 makes
all directions alike, p = 0 leaves them as they are). Taste and content are further columns of users and items beside
the model's own vectors: `model.finishing.joining` weighs them and cuts all columns back to D.
Why beside the training and not within it:
docs/decisions/0031-taste.md.

Shapes: U users, B some of them, I items, Q items asked for, F feature dimension, K content columns.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks import Block
from model.data import TrainingData, mean_of_present
from model.sparse import CompressedRows, EdgePattern

COLUMNS = 128
"""K, of each modality."""
POWER = 0.5
"""p of the whitening."""
SMALLEST = 1e-6
"""Smaller eigenvalues count as this: they are rounding errors."""
ROUNDING = 1e-5
"""Smaller differences from the mean, relative to the mean's length, count as none."""
PLACED = Block(1 << 22)


@dataclass(frozen=True)
class ContentAxes:
    """Where content is placed: one modality's mean and whitened axes."""

    mean_F: Tensor
    axis_FK: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, feature_IF: Tensor, present_I: Tensor, num_columns: int | None = COLUMNS, power: float = POWER
    ) -> "ContentAxes":
        """The axes of the items that have the modality; so many columns at most, None: all."""
        mean_F = mean_of_present(feature_IF, present_I)
        moment_FF = torch.zeros(len(mean_F), len(mean_F), dtype=torch.float64, device=mean_F.device)
        for rows in present_I.nonzero().squeeze(1).split(PLACED.rows(len(mean_F), mean_F.device)):
            unit_QF = _centred(feature_IF[rows], mean_F)
            moment_FF += (unit_QF.T @ unit_QF).double()
        strength_F, axis_FF = torch.linalg.eigh(moment_FF / present_I.sum().clamp(min=1))
        strength_K, axis_FK = strength_F.flip(0)[:num_columns], axis_FF.flip(1)[:, :num_columns]
        return cls(mean_F, (axis_FK * strength_K.clamp(min=SMALLEST) ** -power).float())

    @torch.no_grad()
    def place(self, feature_QF: Tensor, present_Q: Tensor) -> Tensor:
        """Content x of items, float32 (Q, K), rows of length 1, or 0 without the modality."""
        placed_QK = feature_QF.new_zeros(len(feature_QF), self.axis_FK.shape[1])
        for rows in present_Q.nonzero().squeeze(1).split(PLACED.rows(len(self.mean_F), feature_QF.device)):
            placed_QK[rows] = F.normalize(_centred(feature_QF[rows], self.mean_F) @ self.axis_FK, dim=1)
        return placed_QK


def _centred(feature_QF: Tensor, mean_F: Tensor) -> Tensor:
    """Rows of length 1 without the mean; 0 where nothing but rounding errors is left."""
    centred_QF = feature_QF - mean_F
    length_Q1 = centred_QF.norm(dim=1, keepdim=True)
    return torch.where(length_Q1 > ROUNDING * mean_F.norm(), centred_QF / length_Q1.clamp(min=1e-30), 0.0)


class Taste:
    """Content of all items and the taste of any user, of some modalities side by side."""

    def __init__(
        self, data: TrainingData, names: list[str], num_columns: int | None = COLUMNS, power: float = POWER
    ) -> None:
        """Place the content of the modalities `names`; `data` holds their features.

        Args:
            num_columns: K of each modality at most; None: its dimension.
            power: p of the whitening; 0: content that is centred only.
        """
        self.axes = {
            name: ContentAxes.of(data.features[name], data.present[name], num_columns, power) for name in names
        }
        self.content = {name: axes.place(data.features[name], data.present[name]) for name, axes in self.axes.items()}
        pattern = EdgePattern(data.user_T, data.item_T, (data.num_users, data.num_items))
        self._history: CompressedRows = pattern.matrix(torch.ones(len(data.user_T), device=data.user_T.device))

    @property
    def widths(self) -> list[int]:
        """K of each modality."""
        return [content_IK.shape[1] for content_IK in self.content.values()]

    @torch.no_grad()
    def of_users(self, user_B: Tensor) -> list[Tensor]:
        """Taste p in each modality, float32 (B, K), rows of length 1, or 0 for a user without content."""
        history = self._history.rows(user_B)
        return [F.normalize(history @ content_IK, dim=1) for content_IK in self.content.values()]
