"""How a model is measured on a dataset: one protocol for the nightly evaluation and for comparisons.

On validation, training interactions are masked; on test, training and validation ones. Every item competes,
but where whole items are held out: there only items without a training interaction do.
"""

import torch
from torch import Tensor

from model.evaluation import Pairs, Ranking, Scorer, metrics_per_user, rank_items, summarise
from model.paper_protocol import paper_metrics
from pipeline.columns import TEST, TRAIN, VALIDATION
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.records import Metrics
from pipeline.dataset.split import SplitConfig

CUTOFFS = (10, 20)
LIGHT_USER_INTERACTIONS = 10
"""A light user has fewer training interactions than this."""


class EvaluationProtocol:
    """The parts of one dataset, and what a scorer comes to on them. A part without interactions has no metrics."""

    def __init__(self, dataset: Dataset, split: SplitConfig) -> None:
        self.present = dataset.present
        self.num_users, self.num_items = len(dataset.users), len(dataset.items)
        self.parts = {
            name: Pairs(*dataset.pairs(name), self.num_users, self.num_items) for name in (TRAIN, VALIDATION, TEST)
        }
        self.trained_count_I = torch.bincount(self.parts[TRAIN].item_P, minlength=self.num_items)
        self.untrained_I = self.trained_count_I == 0
        self.validation_candidate_I = self.untrained_I if split.strategy == "cold-items" else None

    def validation(self, scorer: Scorer) -> Metrics | None:
        """Metrics on validation: what models and settings are chosen by."""
        relevant = self.parts[VALIDATION]
        return self._measure(scorer, relevant, [TRAIN], self.validation_candidate_I)

    def test(self, scorer: Scorer) -> Metrics | None:
        """Metrics on test, all items competing."""
        return self._measure(scorer, self.parts[TEST], [TRAIN, VALIDATION])

    def cold(self, scorer: Scorer) -> Metrics | None:
        """Metrics on the test interactions with items that training has not seen, which alone compete."""
        relevant = self.parts[TEST].restricted_to(self.untrained_I)
        return self._measure(scorer, relevant, [TRAIN, VALIDATION], self.untrained_I)

    def cold_per_user(self, scorer: Scorer) -> tuple[Tensor, dict[str, Tensor]]:
        """`cold` for every user with such an interaction: user indices (Q,) and metrics, float64 (Q,)."""
        relevant = self.parts[TEST].restricted_to(self.untrained_I)
        return self._per_user(scorer, relevant, self.untrained_I)

    def test_per_user(self, scorer: Scorer) -> tuple[Tensor, dict[str, Tensor]]:
        """`test` for every user with a test interaction: user indices (Q,) and metrics, float64 (Q,)."""
        return self._per_user(scorer, self.parts[TEST])

    def slices(self, scorer: Scorer) -> dict[str, Metrics]:
        """Test metrics for a part of the relevant items or of the users, all items competing."""
        relevant = self.parts[TEST]
        if not len(relevant.key_P):
            return {}
        ranking = self._rank(scorer, relevant, [TRAIN, VALIDATION])
        masks = {"cold items": self.untrained_I}
        masks |= {f"items without {name}": ~torch.from_numpy(present_I) for name, present_I in self.present.items()}
        slices = {name: relevant.restricted_to(mask_I) for name, mask_I in masks.items()}
        light_U = self.parts[TRAIN].count_U < LIGHT_USER_INTERACTIONS
        light = light_U[relevant.user_P]
        slices[f"users with fewer than {LIGHT_USER_INTERACTIONS} interactions"] = Pairs(
            relevant.user_P[light], relevant.item_P[light], self.num_users, self.num_items
        )
        return {
            name: summarise(ranking, pairs, CUTOFFS, self.num_items)
            for name, pairs in slices.items()
            if len(pairs.key_P)
        }

    def paper(self, scorer: Scorer) -> Metrics | None:
        """Test metrics as the authors' code computes them; for comparison with published tables only."""
        relevant = self.parts[TEST]
        if not len(relevant.key_P):
            return None
        return paper_metrics(self._rank(scorer, relevant, [TRAIN]), relevant, CUTOFFS)

    def _rank(self, scorer: Scorer, relevant: Pairs, masked: list[str], candidate_I: Tensor | None = None) -> Ranking:
        seen = [self.parts[name] for name in masked]
        return rank_items(scorer, relevant.users(), seen, max(CUTOFFS), candidate_I)

    def _measure(
        self, scorer: Scorer, relevant: Pairs, masked: list[str], candidate_I: Tensor | None = None
    ) -> Metrics | None:
        if not len(relevant.key_P):
            return None
        num_candidates = self.num_items if candidate_I is None else int(candidate_I.sum())
        return summarise(self._rank(scorer, relevant, masked, candidate_I), relevant, CUTOFFS, num_candidates)

    def _per_user(
        self, scorer: Scorer, relevant: Pairs, candidate_I: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        ranking = self._rank(scorer, relevant, [TRAIN, VALIDATION], candidate_I)
        return ranking.user_Q, metrics_per_user(ranking, relevant, CUTOFFS)
