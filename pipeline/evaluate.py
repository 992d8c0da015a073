"""Stage `evaluate`: full-ranking metrics of the trained vectors, whole and by slice."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from upath import UPath

from model.evaluation import Pairs, Ranking, rank_items, summarise
from model.paper_protocol import paper_metrics
from pipeline.dataset import Dataset, load_dataset
from pipeline.errors import StoreError
from pipeline.run import Result, Run
from pipeline.split import TEST, TRAIN, VALIDATION
from pipeline.storage import local_copy, write_json
from pipeline.train import VECTORS, validation_candidates

CUTOFFS = (10, 20)
LIGHT_USER_INTERACTIONS = 10
"""A light user has fewer training interactions than this."""

Metrics = dict[str, float]


def evaluate(run: Run, folder: Path) -> Result:
    """Measure validation and test; a part without interactions has no metrics.

    On test, training and validation interactions are masked; on validation, training ones.
    `cold` ranks only items without a training interaction, for the test interactions with them.
    """
    dataset = load_dataset(run.stage("prepare"))
    with local_copy(run.stage("train") / VECTORS) as file:
        vectors = load_file(file)
    user_UD, item_ID = vectors["user_UD"], vectors["item_ID"]
    if not (torch.isfinite(user_UD).all() and torch.isfinite(item_ID).all()):
        raise StoreError(f"{run.stage('train') / VECTORS} holds NaN or infinite vectors; train again with a new run id")
    protocol = _Protocol(dataset, user_UD, item_ID)
    metrics: dict[str, object] = {
        "validation": protocol.measure(VALIDATION, [TRAIN], validation_candidates(run, dataset)),
        "test": protocol.measure(TEST, [TRAIN, VALIDATION]),
        "cold": protocol.measure(TEST, [TRAIN, VALIDATION], protocol.untrained_I, only_candidates=True),
        "slices": protocol.slices(),
        "popularity": _popularity(dataset, protocol).measure(TEST, [TRAIN, VALIDATION]),
        "paper_protocol": protocol.paper(),
    }
    write_json(UPath(str(folder / "metrics.json")), metrics)
    return {"metrics": metrics}


def _popularity(dataset: Dataset, protocol: "_Protocol") -> "_Protocol":
    """The same list for everybody: items by their number of training interactions."""
    return _Protocol(dataset, torch.ones(protocol.num_users, 1), protocol.trained_count_I.float()[:, None])


class _Protocol:
    """The parts of one dataset and the vectors measured on them."""

    def __init__(self, dataset: Dataset, user_UD: Tensor, item_ID: Tensor) -> None:
        self.user_UD, self.item_ID = user_UD, item_ID
        self.num_users, self.num_items = len(user_UD), len(item_ID)
        self.present = dataset.present
        self.parts = {
            name: Pairs(*dataset.pairs(name), self.num_users, self.num_items) for name in (TRAIN, VALIDATION, TEST)
        }
        self.trained_count_I = torch.bincount(self.parts[TRAIN].item_P, minlength=self.num_items)
        self.untrained_I = self.trained_count_I == 0

    def _rank(self, relevant: Pairs, masked: list[str], candidate_I: Tensor | None = None) -> Ranking:
        seen = [self.parts[name] for name in masked]
        return rank_items(self.user_UD, self.item_ID, relevant.users(), seen, max(CUTOFFS), candidate_I)

    def measure(
        self,
        part: str,
        masked: list[str],
        candidate_I: Tensor | None = None,
        *,
        only_candidates: bool = False,
    ) -> Metrics | None:
        """Metrics of one part; `only_candidates` counts relevant items among the candidates alone."""
        relevant = self.parts[part]
        if only_candidates and candidate_I is not None:
            relevant = relevant.restricted_to(candidate_I)
        if not len(relevant.key_P):
            return None
        num_candidates = self.num_items if candidate_I is None else int(candidate_I.sum())
        return summarise(self._rank(relevant, masked, candidate_I), relevant, CUTOFFS, num_candidates)

    def slices(self) -> dict[str, Metrics]:
        """Test metrics for a part of the relevant items or of the users, all items competing."""
        relevant = self.parts[TEST]
        if not len(relevant.key_P):
            return {}
        ranking = self._rank(relevant, [TRAIN, VALIDATION])
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

    def paper(self) -> Metrics | None:
        """Test metrics as the authors' code computes them; for comparison with published tables only."""
        relevant = self.parts[TEST]
        if not len(relevant.key_P):
            return None
        return paper_metrics(self._rank(relevant, [TRAIN]), relevant, CUTOFFS)
