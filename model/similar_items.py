"""How good an item's nearest neighbours are: of the same kind, and bought by the same users.

No I x I matrix ever exists: neighbours are searched for some anchors at a time.
Shapes: I items, A anchors, C anchors of a chunk, K neighbours, D dimension, P pairs of items.
"""

import torch
from torch import Generator, Tensor

from model.blocks import Block
from model.evaluation import Pairs
from model.exact import ROWS
from model.topk import top_k

NONE = -1
"""Stands for a missing neighbour, or an unknown kind."""


@torch.no_grad()
def nearest_items(
    vector_ID: Tensor, listed_I: Tensor, anchor_A: Tensor, num_neighbours: int, block: Block = ROWS
) -> Tensor:
    """Return the items of largest cosine to each anchor, itself left out, int64 (A, K); `NONE` where there are no more.

    Args:
        vector_ID: float32, of any length.
        listed_I: bool, whether an item has a vector: others are nobody's neighbour and have none.
        anchor_A: int64, whose neighbours are searched.
        num_neighbours: K.
        block: cosines held at once.
    """
    num_items = len(vector_ID)
    length_I = torch.linalg.vector_norm(vector_ID, dim=1)
    listed_I = listed_I & (length_I > 0)
    scale_I = torch.where(listed_I, 1 / length_I, 0.0)
    kept = min(num_neighbours, num_items)
    nearest_AK = anchor_A.new_full((len(anchor_A), num_neighbours), NONE)
    rows = block.rows(num_items, vector_ID.device)
    for anchor_C, nearest_CK in zip(anchor_A.split(rows), nearest_AK.split(rows), strict=True):
        # Times the anchor's length, which does not change the order.
        cosine_CI = (vector_ID[anchor_C] @ vector_ID.T).mul_(scale_I)
        cosine_CI.masked_fill_(~listed_I, -torch.inf)
        cosine_CI[torch.arange(len(anchor_C), device=anchor_C.device), anchor_C] = -torch.inf
        value_CK, place_CK = top_k(cosine_CI, kept)
        has_none = (value_CK == -torch.inf) | ~listed_I[anchor_C][:, None]
        nearest_CK[:, :kept] = place_CK.masked_fill(has_none, NONE)
    return nearest_AK


def same_kind_share(anchor_A: Tensor, nearest_AK: Tensor, kind_I: Tensor) -> float | None:
    """Share of the neighbours that are of their anchor's kind; None where no anchor has a kind and a neighbour.

    Args:
        anchor_A: int64.
        nearest_AK: int64, as of `nearest_items`.
        kind_I: int64, the same number for items of the same kind; `NONE` where it is not known. Such an item is no
            anchor, and as a neighbour of another kind.
    """
    kind_A1 = kind_I[anchor_A][:, None]
    counted_AK = (nearest_AK != NONE) & (kind_A1 != NONE)
    same_AK = counted_AK & (kind_I[nearest_AK] == kind_A1)
    return float(same_AK.sum() / counted_AK.sum()) if counted_AK.any() else None


def bought_together(bought: Pairs, later: Pairs, most: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Items i and j where some user has i in `bought` and j in `later`, once for each such user; int64 (P,) each.

    All of them, sorted by user, or `most` drawn uniformly with repetition: heavy users have very many.
    """
    count_U = bought.count_U * later.count_U
    total = int(count_U.sum())
    if total > most:
        place_P = torch.randint(total, (most,), generator=generator).to(count_U.device)
    else:
        place_P = torch.arange(total, device=count_U.device)
    end_U = count_U.cumsum(0)
    user_P = torch.searchsorted(end_U, place_P, right=True)
    place_P = place_P - (end_U - count_U)[user_P]  # among the user's own
    later_P = later.count_U[user_P]
    first = bought.item_P[bought.start_U[user_P] + place_P // later_P]
    return first, later.item_P[later.start_U[user_P] + place_P % later_P]


def found_share(anchor_A: Tensor, nearest_AK: Tensor, first_P: Tensor, second_P: Tensor) -> float | None:
    """Share of the pairs whose second item is among the neighbours of the first; None without any pair.

    Args:
        anchor_A: int64, ascending; every first item is one of them.
        nearest_AK: int64, as of `nearest_items`.
        first_P, second_P: int64, as of `bought_together`.
    """
    if not len(first_P):
        return None
    place_P = torch.searchsorted(anchor_A, first_P)
    return float((nearest_AK[place_P] == second_P[:, None]).any(1).double().mean())
