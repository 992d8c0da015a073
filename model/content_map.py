"""Vectors for items without interactions: a linear map from content, fitted to the vectors of the trained items.

The attribute-to-feature mapping of Gantner et al. (ICDM 2010): ridge regression, its penalty chosen by generalised
cross-validation on the trained items (Golub, Heath & Wahba 1979), so that a modality that tells little of who likes
an item is shrunk away. Why not the convolution over the item graphs: docs/decisions/0015-new-items.md.

Shapes: I items, P of them trained, Q new items, D embedding dimension, C content: all modalities' dimensions and,
for each, whether the item has it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from model.parallel import WHOLE, Columns

BLOCK_ELEMENTS = 1 << 24  # 64 MiB of float32
PENALTIES = tuple(10 ** (exponent / 5) for exponent in range(-15, 26))


class ContentMap:
    """The regression of one catalogue; what does not depend on the vectors is computed once."""

    def __init__(
        self,
        features: dict[str, Tensor],
        present: dict[str, Tensor],
        trained_I: Tensor,
        columns: Columns = WHOLE,
        block_elements: int = BLOCK_ELEMENTS,
    ) -> None:
        """Prepare nothing yet.

        Args:
            features: modality to float32 (I, dim).
            present: modality to bool (I,).
            trained_I: bool, items with interactions in training.
            columns: which of the D columns the vectors have.
            block_elements: of content rows made at once.
        """
        self._block_elements = block_elements
        self._columns = columns
        self._content = [(features[name], present[name]) for name in features]
        self._trained = trained_I.nonzero().squeeze(1)
        self._axes: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def fit(self, item_ID: Tensor) -> Tensor:
        """Return the map, float32 (C, D), from content to the trained items' rows of `item_ID`."""
        axis_CC, strength_C = self._principal_axes()
        moment_CD = torch.zeros(len(axis_CC), item_ID.shape[1], dtype=torch.float64, device=item_ID.device)
        square = torch.zeros((), dtype=torch.float64, device=item_ID.device)
        for rows in self._blocks(self._trained):
            vector_BD = item_ID[rows]
            moment_CD += (self._rows(rows).T @ vector_BD).double()
            square += vector_BD.double().square().sum()
        along_CD = axis_CC.T @ moment_CD
        along_C, square = self._columns.total(along_CD.square().sum(1)), self._columns.total(square)
        penalty = _chosen_penalty(strength_C, along_C, square, len(self._trained))
        return (axis_CC @ (along_CD / (strength_C + penalty)[:, None])).float()

    @torch.no_grad()
    def apply(self, map_CD: Tensor, rows: Tensor) -> Tensor:
        """Return the vectors, float32 (len(rows), D), that the map gives these items: 0 without any content."""
        parts = [self._rows(block) @ map_CD for block in self._blocks(rows)]
        return torch.cat(parts) if parts else map_CD.new_zeros(0, map_CD.shape[1])

    def _principal_axes(self) -> tuple[Tensor, Tensor]:
        """Eigenvectors and eigenvalues of the trained items' C x C second moments, float64."""
        if self._axes is None:
            width = self._rows(self._trained[:1]).shape[1]
            gram_CC = torch.zeros(width, width, dtype=torch.float64, device=self._trained.device)
            for rows in self._blocks(self._trained):
                content_BC = self._rows(rows)
                gram_CC += (content_BC.T @ content_BC).double()
            strength_C, axis_CC = torch.linalg.eigh(gram_CC)
            self._axes = axis_CC, strength_C.clamp(min=0)
        return self._axes

    def _blocks(self, rows: Tensor) -> tuple[Tensor, ...]:
        width = sum(feature_ID.shape[1] + 1 for feature_ID, _ in self._content)
        return rows.split(max(1, self._block_elements // width)) if len(rows) else ()

    def _rows(self, rows: Tensor) -> Tensor:
        return content_rows([(feature_ID[rows], present_I[rows]) for feature_ID, present_I in self._content])


def content_rows(content: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Of each modality features of length 1 and a 1, or zeros where the item lacks it; side by side, float32 (Q, C).

    Args:
        content: features (Q, dim) and presence (Q,) of each modality.
    """
    parts = []
    for feature_QD, present_Q in content:
        has_Q1 = present_Q[:, None].to(feature_QD.dtype)
        parts += [torch.where(present_Q[:, None], F.normalize(feature_QD, dim=1), 0.0), has_Q1]
    return torch.cat(parts, dim=1)


def _chosen_penalty(strength_C: Tensor, along_C: Tensor, square: Tensor, num_rows: int) -> float:
    """The penalty with the least generalised cross-validation error.

    Args:
        strength_C: eigenvalues of the second moments.
        along_C: squared length of content^T vectors along each eigenvector.
        square: squared length of all vectors.
    """
    errors = []
    for penalty in PENALTIES:
        shrunk_C = strength_C + penalty
        residual = square - ((2 * shrunk_C - strength_C) / shrunk_C.square() * along_C).sum()
        freedom = num_rows - (strength_C / shrunk_C).sum()
        errors.append(residual / freedom.square())
    return PENALTIES[int(torch.stack(errors).argmin())]
