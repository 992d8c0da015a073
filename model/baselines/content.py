"""What stands for an item's content where content alone ranks: unit vectors, centred or whitened.

    x_i = unit(f_i - mean of those present), 0 where absent
    whitened: x_i = unit(diag(max(lambda, 1e-6)^-p) V^T x_i)

with V and lambda the leading eigenvectors and eigenvalues of the mean of x x^T over the items present. p = 0.5 gives
every direction that is kept the same variance, p = 0 leaves them as they are.
Shapes: I items, D feature dimension, C dimensions kept.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data import TrainingData, mean_of_present

SMALLEST_VARIANCE = 1e-6


def content_parts(
    data: TrainingData, shares: Mapping[str, float], power: float, dimensions: int | None
) -> list[tuple[float, Tensor]]:
    """Return the share and the vectors, float32 (I, C), of every modality of `shares` that has one.

    Args:
        data: the features.
        shares: what each modality counts, not negative; made to sum to 1.
        power: p.
        dimensions: C, cut to D; None: all.

    Raises `KeyError` for a modality that `data` lacks, `ValueError` where every share is 0.
    """
    total = sum(shares.values())
    if total <= 0:
        raise ValueError(f"no modality has a share: {dict(shares)}")
    parts = []
    for name, share in sorted(shares.items()):
        present_I = data.present[name]
        unit_ID = _centred(data.features[name], present_I)
        if share:
            parts.append((share / total, _whitened(unit_ID, present_I, power, dimensions)))
    return parts


def _centred(feature_ID: Tensor, present_I: Tensor) -> Tensor:
    present_I1 = present_I[:, None]
    return F.normalize(torch.where(present_I1, feature_ID - mean_of_present(feature_ID, present_I), 0), dim=1)


def _whitened(unit_ID: Tensor, present_I: Tensor, power: float, dimensions: int | None) -> Tensor:
    kept = min(dimensions or unit_ID.shape[1], unit_ID.shape[1])
    if power == 0 and kept == unit_ID.shape[1]:
        return unit_ID  # turned at most: every inner product is the same
    second_moment_DD = (unit_ID.T @ unit_ID).double() / present_I.sum().clamp(min=1)
    variance_D, direction_DD = torch.linalg.eigh(second_moment_DD)  # in rising order
    scale_C = variance_D[-kept:].clamp(min=SMALLEST_VARIANCE) ** -power
    return F.normalize((unit_ID.double() @ (direction_DD[:, -kept:] * scale_C)).float(), dim=1)
