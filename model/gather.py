"""Gathering rows: so that training repeats bit for bit on a CPU, and runs of them.

Shapes: N rows, D dimension, B runs, E rows of all runs.
"""

import torch
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


def runs(start_B: Tensor, count_B: Tensor, total: int | None = None) -> Tensor:
    """Indices of consecutive rows, run after run: start, start + 1, ...; int64 (E,).

    Args:
        start_B: int64, where a run begins.
        count_B: int64, its length.
        total: E, where it is known: a device need not be waited for then.
    """
    before_B = count_B.cumsum(0) - count_B
    shift_E = (start_B - before_B).repeat_interleave(count_B, output_size=total)
    return torch.arange(len(shift_E), device=shift_E.device) + shift_E
