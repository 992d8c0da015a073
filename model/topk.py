"""The k largest entries of every row.

Shapes: R rows, P entries of a row, G groups, K kept.
"""

import math

import torch
from torch import Tensor

LARGEST_GROUP = 32
SMALLEST_GROUP = 4


def top_k(value_RP: Tensor, num_kept: int) -> tuple[Tensor, Tensor]:
    """Return values and int64 places (R, K) of the K largest entries of each row, largest first; exact.

    `torch.topk` with a filter in front of it: an entry among the K largest stands in one of the K groups with the
    largest maxima, so only those groups are searched (docs/decisions/0010-speed.md, 0022-gpu.md). Which of equal
    entries is kept is not said.
    """
    num_rows, num_entries = value_RP.shape
    size = min(LARGEST_GROUP, math.isqrt(num_entries // (10 * num_kept)))
    if size < SMALLEST_GROUP:
        top = value_RP.topk(num_kept, dim=1)
        return top.values, top.indices
    num_groups = num_entries // size
    grouped = num_groups * size
    # Entry p belongs to group p mod G: the maximum then runs over whole rows of memory.
    largest_RG = value_RP[:, :grouped].view(num_rows, size, num_groups).amax(1)
    group_RK = largest_RG.topk(num_kept, dim=1, sorted=False).indices
    step = torch.arange(0, grouped, num_groups, device=value_RP.device)
    place = (group_RK[:, None, :] + step[:, None]).reshape(num_rows, -1)
    rest = torch.arange(grouped, num_entries, device=value_RP.device).expand(num_rows, -1)
    place = torch.cat([place, rest], dim=1)
    top = value_RP.gather(1, place).topk(num_kept, dim=1)
    return top.values, place.gather(1, top.indices)
