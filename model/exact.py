"""Exact cosine k-nearest neighbours, in blocks, in three ways: by rows, by halves, and as a GPU does it.

Each takes rows of length 1 (or 0), float32 (P, D), and returns similarities and int64 places (P, K) of the K most
similar rows of every row, itself first.
Shapes: P items, K neighbours, D dimension, C rows of a chunk, L candidates.
"""

import torch
from torch import Tensor

from model.blocks import Block
from model.sparse import neighbour_products
from model.topk import top_k

ROWS = Block(1 << 21)  # similarities (8 MiB of float32: they stay in cache)
HALF_ROWS, HALVES = 1024, Block(1 << 25)
FLOAT16_ELEMENTS = 1 << 31  # similarities held at once on a GPU (4 GiB)
FLOAT16_ROWS = 256  # a block has a multiple of these rows: what a GPU's matrix units take at once
FLOAT16_CANDIDATES = 4  # times K
OWN = 2.0  # more than any cosine


def top_k_by_rows(unit_PD: Tensor, kept: int, block: Block = ROWS) -> tuple[Tensor, Tensor]:
    """Every similarity, some rows at a time: for narrow features, where finding the largest is the work."""
    # Filled in place: small results kept between blocks would keep the allocator from reusing a block's memory.
    value_PK = unit_PD.new_empty(len(unit_PD), kept)
    index_PK = torch.empty(len(unit_PD), kept, dtype=torch.int64, device=unit_PD.device)
    chunk = block.rows(len(unit_PD), unit_PD.device)
    for row_C in torch.arange(len(unit_PD), device=unit_PD.device).split(chunk):
        sim_CP = unit_PD[row_C] @ unit_PD.T
        # The item itself comes first even where another item has the very same content.
        sim_CP[torch.arange(len(row_C), device=row_C.device), row_C] = OWN
        value_PK[row_C], index_PK[row_C] = top_k(sim_CP, kept)
    return value_PK, index_PK


def top_k_by_halves(unit_PD: Tensor, kept: int, half_rows: int = HALF_ROWS) -> tuple[Tensor, Tensor]:
    """Each pair's similarity once: for wide features, where the product is the work, and half of it is saved.

    A block of rows meets the items from its first on; what it finds for the later ones joins what they had.
    """
    num_items = len(unit_PD)
    value_PK = unit_PD.new_full((num_items, kept), -OWN)
    index_PK = torch.zeros(num_items, kept, dtype=torch.int64, device=unit_PD.device)

    def join(begin: int, end: int, value_CK: Tensor, index_CK: Tensor) -> None:
        value_CL = torch.cat([value_PK[begin:end], value_CK], dim=1)
        index_CL = torch.cat([index_PK[begin:end], index_CK], dim=1)
        top = value_CL.topk(kept, dim=1)
        value_PK[begin:end], index_PK[begin:end] = top.values, index_CL.gather(1, top.indices)

    chunk = min(half_rows, HALVES.rows(num_items, unit_PD.device))
    for start in range(0, num_items, chunk):
        end = min(start + chunk, num_items)
        sim_CP = unit_PD[start:end] @ unit_PD[start:].T
        sim_CP.fill_diagonal_(OWN)
        value_CK, index_CK = top_k(sim_CP, min(kept, num_items - start))
        join(start, end, value_CK, index_CK + start)
        if end < num_items:
            value_CK, index_CK = top_k(sim_CP[:, end - start :].T.contiguous(), min(kept, end - start))
            join(end, num_items, value_CK, index_CK + start)
    return value_PK, index_PK


def top_k_by_float16(
    unit_PD: Tensor, kept: int, elements: int = FLOAT16_ELEMENTS, candidates: int = FLOAT16_CANDIDATES
) -> tuple[Tensor, Tensor]:
    """Every similarity in float16, as fast as a GPU multiplies; those of the largest 4 K again in float32.

    Rounding moves a cosine by less than 0.0015 (two factors by 2^-11 of their length each, the result by 2^-12; sums
    are float32's), so an item is lost only behind 3 K others that are less similar by at most twice that.
    """
    num_items, num_candidates = len(unit_PD), min(candidates * kept, len(unit_PD))
    candidate_PL = torch.empty(num_items, num_candidates, dtype=torch.int64, device=unit_PD.device)
    half_PD, own_P = unit_PD.half(), torch.arange(num_items, device=unit_PD.device)
    chunk = max(1, elements // num_items)
    chunk -= chunk % FLOAT16_ROWS if chunk > FLOAT16_ROWS else 0
    for row_C in own_P.split(chunk):
        sim_CP = half_PD[row_C] @ half_PD.T
        sim_CP[own_P[: len(row_C)], row_C] = OWN
        candidate_PL[row_C] = top_k(sim_CP, num_candidates)[1]
    sim_PL = neighbour_products(unit_PD, candidate_PL).masked_fill_(candidate_PL == own_P[:, None], OWN)
    top = sim_PL.topk(kept, dim=1)
    return top.values, candidate_PL.gather(1, top.indices)
