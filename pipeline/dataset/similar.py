"""How good an item's nearest neighbours are, by any vectors: kinds, and what the same users bought.

Shapes: I items, A anchors, P pairs of items.
"""

import torch
from torch import Generator, Tensor

from model.similar_items import bought_together, found_share, nearest_items, same_kind_share
from pipeline.columns import TEST, TRAIN
from pipeline.dataset.protocol import SEED, EvaluationProtocol
from pipeline.dataset.records import CO_PURCHASES, SAME_KIND, Metrics

NEIGHBOURS = 10
MOST_ANCHORS = 20_000
MOST_PAIRS = 1_000_000
WORK = 1 << 41
"""Products of two numbers that one yardstick may take: a minute or so on two cores."""


def affordable(num_items: int, dim: int) -> int:
    """Rows that may be held against every item within `WORK`, at least 1."""
    return max(1, WORK // max(1, num_items * dim))


class SimilarItems:
    """The items and pairs of a dataset that neighbours are measured on; the same ones for every kind of vectors."""

    def __init__(self, protocol: EvaluationProtocol, kind_I: Tensor | None, most_anchors: int = MOST_ANCHORS) -> None:
        """Draw what is measured, with a fixed seed where it is not everything.

        Args:
            protocol: of the dataset.
            kind_I: int64, as of `pipeline.dataset.kinds.kind_numbers`; None: no kinds.
            most_anchors: items whose neighbours are searched.
        """
        generator = Generator().manual_seed(SEED)
        self._kind_I, num_items = kind_I, protocol.num_items
        order_I = torch.randperm(num_items, generator=generator)
        self.anchor_A = order_I[: min(most_anchors, num_items)].sort().values
        anchor_I = torch.zeros(num_items, dtype=torch.bool)
        anchor_I[self.anchor_A] = True
        bought = protocol.parts[TRAIN].restricted_to(anchor_I)
        later = protocol.parts[TEST].restricted_to(~protocol.untrained_I)
        self.first_P, self.second_P = bought_together(bought, later, MOST_PAIRS, generator)

    def measure(self, vector_ID: Tensor, listed_I: Tensor) -> Metrics:
        """What the ten nearest neighbours by cosine of these vectors come to; a share of nothing is left out.

            same_kind@10 = of the neighbours of the anchors with a kind, the share of the same kind
            co_purchases@10 = of the pairs (i, j), where a user has i in training and j in test and both are warm, the
                share with j among the neighbours of i

        Args:
            vector_ID: float32, of any length.
            listed_I: bool, whether an item has a vector.
        """
        nearest_AK = nearest_items(vector_ID, listed_I, self.anchor_A, NEIGHBOURS)
        kinds = None if self._kind_I is None else same_kind_share(self.anchor_A, nearest_AK, self._kind_I)
        found = found_share(self.anchor_A, nearest_AK, self.first_P, self.second_P)
        shares = {SAME_KIND: kinds, CO_PURCHASES: found}
        counts = {"items": float(len(self.anchor_A)), "pairs": float(len(self.first_P))}
        return {name: share for name, share in shares.items() if share is not None} | counts
