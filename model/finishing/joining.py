"""Joins the model's vectors with taste and content, and cuts all columns back to D.

    score = u.i + s * sum over the modalities m of b_m (p_um . x_im),   s = mean |u| * mean |i| of trained items

is one inner product of [u ; s b_1 p_1 ; ...] and [i ; x_1 ; ...] with J columns. The D that come nearest to it over all
pairs of a user and an item are those of its truncated singular value decomposition (Eckart & Young 1936); as both sides
are known as factors, J x J second moments suffice, and no score is ever held.

Shapes: U users, B some of them, I items, D dimension, K a modality's content columns, J = D + all K.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks import Block
from model.finishing.taste import ContentAxes, Taste

JOINED = Block(1 << 22)
RANK_TOLERANCE = 1e-10
"""Directions with less than this share of the largest second moment are left out."""


@dataclass(frozen=True)
class Cut:
    """Linear maps from all J columns of a side to its D."""

    user_JD: Tensor
    item_JD: Tensor


class Joining:
    """The J columns of both sides; weights are chosen later, at the price of J x J algebra each."""

    def __init__(self, user_UD: Tensor, item_ID: Tensor, trained_I: Tensor, taste: Taste) -> None:
        """Take a trained model's vectors, and which items were trained, bool (I,)."""
        self._user_UD, self._item_ID, self._taste = user_UD, item_ID, taste
        self.num_users, self.num_items = len(user_UD), len(item_ID)
        length = user_UD.norm(dim=1).mean() * item_ID[trained_I].norm(dim=1).mean()
        self.scale = float(length)
        self._user_moment_JJ = self._moments(len(user_UD), self.users)
        self._item_moment_JJ = self._moments(len(item_ID), self.items)

    @property
    def widths(self) -> list[int]:
        """D, and K of each modality."""
        return [self._item_ID.shape[1], *self._taste.widths]

    def users(self, user_B: Tensor) -> Tensor:
        """[u ; p_1 ; ...] of users, float32 (B, J), without weights."""
        return torch.cat([self._user_UD[user_B], *self._taste.of_users(user_B)], dim=1)

    def items(self, item_B: Tensor) -> Tensor:
        """[i ; x_1 ; ...] of items, float32 (B, J)."""
        content = [content_IK[item_B] for content_IK in self._taste.content.values()]
        return torch.cat([self._item_ID[item_B], *content], dim=1)

    @torch.no_grad()
    def cut(self, weights: dict[str, float], dim: int) -> Cut:
        """The maps to `dim` columns with these weights b of the modalities; deterministic up to float rounding."""
        weight_J = self._weights(weights)
        if not weight_J[self.widths[0] :].any() and dim == self.widths[0]:
            identity_JD = torch.eye(len(weight_J), dim, device=weight_J.device)
            return Cut(identity_JD, identity_JD)  # the model's own vectors, untouched
        user_root_JR, user_back_JR = _roots(self._user_moment_JJ * weight_J[:, None] * weight_J)
        item_root_JR, item_back_JR = _roots(self._item_moment_JJ)
        left_RD, strength_D, right_DR = torch.linalg.svd(user_root_JR.T @ item_root_JR, full_matrices=False)
        left_RD, right_RD, root_D = left_RD[:, :dim], right_DR[:dim].T, strength_D[:dim].sqrt()
        user_JD = weight_J[:, None] * (user_back_JR @ left_RD) * root_D
        item_JD = (item_back_JR @ right_RD) * root_D
        sign_D = item_JD.gather(0, item_JD.abs().argmax(0, keepdim=True)).sign()  # a singular vector's own is arbitrary
        missing = (0, dim - item_JD.shape[1])
        return Cut(F.pad(sign_D * user_JD, missing).float(), F.pad(sign_D * item_JD, missing).float())

    def column_weights(self, weights: dict[str, float]) -> Tensor:
        """What the users' columns are multiplied with, float32 (J,)."""
        return self._weights(weights).float()

    def content_alone(self, weights: dict[str, float]) -> Cut:
        """All content columns with these weights and none of the model's own."""
        own = self.widths[0]
        weight_J = self._weights(weights)
        select_JK = torch.eye(len(weight_J), device=weight_J.device, dtype=weight_J.dtype)[:, own:]
        return Cut((weight_J[:, None] * select_JK).float(), select_JK.float())

    def all_users(self, cut: Cut) -> Tensor:
        """Everyone's vectors, float32 (U, D)."""
        return self._all(self._user_UD, self.users, cut.user_JD)

    def all_items(self, cut: Cut) -> Tensor:
        """All items' vectors, float32 (I, D)."""
        return self._all(self._item_ID, self.items, cut.item_JD)

    def _all(self, own_RD: Tensor, columns: Callable[[Tensor], Tensor], map_JD: Tensor) -> Tensor:
        made_RD = own_RD.new_empty(len(own_RD), map_JD.shape[1])
        everyone = torch.arange(len(own_RD), device=own_RD.device)
        for row_B in everyone.split(JOINED.rows(len(map_JD), everyone.device)):
            made_RD[row_B] = columns(row_B) @ map_JD
        return made_RD

    @property
    def axes(self) -> dict[str, ContentAxes]:
        """Where content is placed, by modality."""
        return self._taste.axes

    def _weights(self, weights: dict[str, float]) -> Tensor:
        own, *widths = self.widths
        parts = [torch.ones(own)]
        parts += [
            torch.full((width,), self.scale * weights[name])
            for name, width in zip(self._taste.content, widths, strict=True)
        ]
        return torch.cat(parts).to(self._item_ID.device, torch.float64)

    def _moments(self, num_rows: int, columns: Callable[[Tensor], Tensor]) -> Tensor:
        width = sum(self.widths)
        total = torch.zeros(width, width, dtype=torch.float64, device=self._item_ID.device)
        everyone = torch.arange(num_rows, device=self._item_ID.device)
        for row_B in everyone.split(JOINED.rows(width, everyone.device)):
            row_BJ = columns(row_B)
            total += (row_BJ.T @ row_BJ).double()
        return total


def _roots(moment_JJ: Tensor) -> tuple[Tensor, Tensor]:
    """Root and inverse root (J, R) of second moments of rank R: rows @ inverse is orthonormal, inverse^T root = 1."""
    strength_J, axis_JJ = torch.linalg.eigh(moment_JJ)
    kept = strength_J > RANK_TOLERANCE * strength_J[-1].clamp(min=0)
    root_R, axis_JR = strength_J[kept].sqrt(), axis_JJ[:, kept]
    return axis_JR * root_R, axis_JR / root_R
