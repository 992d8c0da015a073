"""Users folded in against users trained in full: recall@20 of a fifth of the users, who are left out of the training.

    python -m bench.fold_in PREPARED CONFIG [--search]

PREPARED is the `prepare` folder of a run, CONFIG its configuration. Two trainings: on all users, and without the fifth,
whose vectors then come from their training interactions and the item vectors alone. What is masked and what counts is
as in the evaluation. A last pair of rows has users of the release whose validation interactions are new to it.
`--search` tries the constants of `pipeline.release.fold_in`; they are chosen by validation.
"""

import argparse
import dataclasses
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import torch
from upath import UPath

from model.allocator import freed_memory_kept
from model.baselines.popularity import popularity
from model.evaluation import InnerProduct, Scorer
from model.finishing.finish import Finished, finish
from model.micro import Micro
from model.training import Trainer
from pipeline.columns import ITEM_INDEX, SPLIT, TRAIN, USER_INDEX, VALIDATION
from pipeline.config.config import Config, load_config
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.release import fold_in as folding
from pipeline.release.fold_in import FoldIn, fold, prior

SHARE, SEED = 0.2, 0
UNOBSERVED, L2 = (3.0, 10.0, 30.0, 100.0), (0.1, 0.3, 1.0, 3.0, 10.0)
"""Tried by `--search`."""


def train(dataset: Dataset, config: Config) -> Finished:
    """Vectors as a release has them."""
    held_out = EvaluationProtocol(dataset, config.split).held_out()
    data = dataset.training_data()
    trainer = Trainer(data, held_out, config.model, config.train, Micro, freed_memory_kept)
    for _ in trainer.fit():
        pass
    vectors = trainer.best_vectors()
    return finish(vectors.user_UD, vectors.item_ID, data, held_out, config.model, trainer.model.modality_names)


def histories(dataset: Dataset, *splits: str) -> dict[int, np.ndarray]:
    """Item indices by user, of these parts of the split."""
    pairs = dataset.interactions.filter(pl.col(SPLIT).is_in(splits)).sort(USER_INDEX, ITEM_INDEX)
    return {
        int(user): group[ITEM_INDEX].to_numpy() for (user,), group in pairs.group_by(USER_INDEX, maintain_order=True)
    }


def folded(item_ID: np.ndarray, num_users: int, history: dict[int, np.ndarray]) -> np.ndarray:
    """Vectors (U, D) of users with a history, zeros for the others."""
    plain = FoldIn.of(item_ID, num_users, sum(map(len, history.values())))
    prior_DD = prior(item_ID, plain)
    user_UD = np.zeros((num_users, item_ID.shape[1]), np.float32)
    for user, items in history.items():
        user_UD[user] = fold(item_ID[items], prior_DD)
    return user_UD


class Contest:
    """Recall@20 of the users who were left out."""

    def __init__(self, dataset: Dataset, config: Config, left_out_U: np.ndarray) -> None:
        out = pl.col(USER_INDEX).is_in(np.flatnonzero(left_out_U).tolist())
        asked = dataset.interactions.filter(out | (pl.col(SPLIT) == TRAIN))
        self.rest = dataclasses.replace(dataset, interactions=dataset.interactions.filter(~out))
        self._protocol = EvaluationProtocol(dataclasses.replace(dataset, interactions=asked), config.split)

    def recall(self, scorer: Scorer) -> tuple[float, float]:
        """On validation and on test."""
        validation, test = self._protocol.validation(scorer), self._protocol.test(scorer)
        return (validation or {}).get("recall@20", 0.0), (test or {}).get("recall@20", 0.0)


def measure(dataset: Dataset, config: Config, *, search: bool = False) -> dict[str, tuple[float, float]]:
    """Recall@20 on validation and test by what ranks; printed as it comes."""
    num_users = len(dataset.users)
    left_out_U = np.random.default_rng(SEED).permutation(num_users) < SHARE * num_users
    contest, found = Contest(dataset, config, left_out_U), {}

    def tell(name: str, recall: tuple[float, float]) -> None:
        found[name] = recall
        print(f"{name:<58} validation {recall[0]:.4f}  test {recall[1]:.4f}", flush=True)

    tell("popularity", contest.recall(popularity(contest.rest.training_data())))
    full = train(dataset, config)
    tell("trained in full", contest.recall(InnerProduct(full.user_UD, full.item_ID)))
    item_ID = train(contest.rest, config).item_ID
    history = histories(dataset, TRAIN)

    def fold_all(history: dict[int, np.ndarray], item_ID: torch.Tensor) -> InnerProduct:
        return InnerProduct(torch.from_numpy(folded(item_ID.numpy(), num_users, history)), item_ID)

    tell("left out of the training, folded in", contest.recall(fold_all(history, item_ID)))
    more = histories(dataset, TRAIN, VALIDATION)
    before, after = fold_all(history, full.item_ID), fold_all(more, full.item_ID)
    scale = full.user_UD.norm(dim=1).mean() / before.user_UD.norm(dim=1).mean()
    moved_UD = full.user_UD + scale * (after.user_UD - before.user_UD)
    for name, user_UD in (("moved by it", moved_UD), ("folded in from all", after.user_UD)):
        test = contest.recall(InnerProduct(user_UD, full.item_ID))[1]
        tell(f"trained in full, validation as new history, {name}", (float("nan"), test))
    for folding.UNOBSERVED, folding.L2 in product(UNOBSERVED, L2) if search else ():
        name = f"left out, folded in, UNOBSERVED {folding.UNOBSERVED:g}, L2 {folding.L2:g}"
        tell(name, contest.recall(fold_all(history, item_ID)))
    return found


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", help="`prepare` folder of a run")
    parser.add_argument("config", type=Path, help="its configuration")
    parser.add_argument("--search", action="store_true", help="try the constants")
    arguments = parser.parse_args()
    measure(load_dataset(UPath(arguments.prepared)), load_config(arguments.config, ()), search=arguments.search)


if __name__ == "__main__":
    main()
