"""Gathering rows so that training repeats bit for bit on a CPU."""

import torch.nn.functional as F
from torch import Tensor


def gather_rows(source: Tensor, index: Tensor) -> Tensor:
    """Return `source[index]` for a source (N,) or (N, D), with a gradient that is summed in a fixed order.

    The gradient of plain indexing adds from several threads as they come (atomic adds on floats), so that two
    trainings with the same seed part by a rounding error; the embedding lookup's gives each row to one thread.
    """
    if source.dim() == 1:
        return F.embedding(index, source[:, None]).squeeze(-1)
    return F.embedding(index, source)
