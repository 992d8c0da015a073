"""How a model is measured on a dataset: one protocol for the nightly evaluation and for comparisons.

On validation, training interactions are masked; on test, training and validation ones. Every item competes,
but where whole items are held out: there only items without a training interaction do.
A new item is one without a training interaction, a warm one has some.
"""

from functools import cached_property

import torch
from torch import Tensor

from model.data import HeldOut
from model.evaluation import Pairs, Ranking, Scorer, metrics_per_user, rank_items, slot_share, summarise
from model.paper_protocol import paper_metrics
from pipeline.columns import TEST, TRAIN, VALIDATION
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.intervals import figure
from pipeline.dataset.records import SLOT_SHARE, Figures, Metrics
from pipeline.dataset.split import SplitConfig

CUTOFFS = (10, 20)
FIGURES = ("hit@20", "recall@20", "ndcg@20")
"""What is told with an interval."""
LIGHT_USER_INTERACTIONS = 10
"""A light user has fewer training interactions than this."""
SEED = 0
"""Of what is measured on a sample."""


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

    def held_out(self) -> HeldOut:
        """What training checks itself on."""
        pairs = self.parts[VALIDATION]
        return HeldOut(user_P=pairs.user_P, item_P=pairs.item_P, candidate_I=self.validation_candidate_I)

    def open_contest(self, scorer: Scorer, most_users: int | None = None) -> "OpenContest":
        """The test users' lists, all items competing.

        Args:
            scorer: what ranks.
            most_users: so many of the users only, drawn with a fixed seed.
        """
        return OpenContest(self, scorer, most_users)

    def test(self, scorer: Scorer) -> Metrics | None:
        """Metrics on test, all items competing."""
        return self.open_contest(scorer).test()

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

    def warm_alone(self, scorer: Scorer) -> Metrics | None:
        """Metrics on the test interactions with warm items, which alone compete (`OpenContest.warm`: with new ones)."""
        relevant = self.parts[TEST].restricted_to(~self.untrained_I)
        return self._measure(scorer, relevant, [TRAIN, VALIDATION], ~self.untrained_I)

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


class OpenContest:
    """The lists of the test users where all items compete, ranked once, and what can be read off them."""

    def __init__(self, protocol: EvaluationProtocol, scorer: Scorer, most_users: int | None = None) -> None:
        self._protocol, self._scorer = protocol, scorer
        relevant = protocol.parts[TEST]
        users = relevant.users()
        if most_users is not None and most_users < len(users):
            drawn = torch.randperm(len(users), generator=torch.Generator().manual_seed(SEED))[:most_users]
            chosen_U = torch.zeros(protocol.num_users, dtype=torch.bool)
            chosen_U[users[drawn]] = True
            relevant = relevant.restricted_to_users(chosen_U)
        self.relevant = relevant

    @cached_property
    def _ranking(self) -> Ranking:
        return self._protocol._rank(self._scorer, self.relevant, [TRAIN, VALIDATION])

    def test(self) -> Metrics | None:
        """Metrics on test."""
        return self._read(self.relevant)

    def cold(self) -> Metrics | None:
        """Metrics on the test interactions with new items."""
        return self._read(self.relevant.restricted_to(self._protocol.untrained_I))

    def warm(self) -> Metrics | None:
        """Metrics on the test interactions with warm items."""
        return self._read(self.relevant.restricted_to(~self._protocol.untrained_I))

    def slices(self) -> dict[str, Metrics]:
        """Metrics for parts of the relevant items or of the users; those without interactions are left out."""
        light_U = self._protocol.parts[TRAIN].count_U < LIGHT_USER_INTERACTIONS
        parts = {
            f"items without {name}": self.relevant.restricted_to(~torch.from_numpy(present_I))
            for name, present_I in self._protocol.present.items()
        }
        parts[f"users with fewer than {LIGHT_USER_INTERACTIONS} interactions"] = self.relevant.restricted_to_users(
            light_U
        )
        measured = {name: self._read(pairs) for name, pairs in parts.items()}
        return {name: metrics for name, metrics in measured.items() if metrics}

    def new_items(self) -> Metrics | None:
        """How many items are new, their share of the catalogue, and of the places of the lists; None without lists.

        slot_share@20 = places of the test users' top 20 that a new item holds / places of these lists
        """
        if not len(self.relevant.key_P):
            return None
        untrained_I = self._protocol.untrained_I
        share = slot_share(self._ranking, max(CUTOFFS), untrained_I)
        return {
            "items": float(untrained_I.sum()),
            "catalogue_share": float(untrained_I.double().mean()),
            **({} if share is None else {SLOT_SHARE: share}),
            "users": float(len(self._ranking.user_Q)),
        }

    def figures(self, relevant: Pairs) -> Figures:
        """Means with intervals over the users who have some of these test interactions, by their lists; {}: nobody."""
        lists = self._lists_of(relevant)
        if not len(lists.user_Q):
            return {}
        per_user = metrics_per_user(lists, relevant, CUTOFFS)
        return {name: figure(per_user[name].numpy()) for name in FIGURES}

    def _read(self, relevant: Pairs) -> Metrics | None:
        """Metrics of the users who have some of these interactions, by their lists."""
        if not len(relevant.key_P):
            return None
        return summarise(self._lists_of(relevant), relevant, CUTOFFS, self._protocol.num_items)

    def _lists_of(self, relevant: Pairs) -> Ranking:
        counts_Q = relevant.count_U[self._ranking.user_Q] > 0
        return Ranking(self._ranking.user_Q[counts_Q], self._ranking.item_QK[counts_Q])
