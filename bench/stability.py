"""Nights in a chain, each begun at the one before: how much of the released vectors stays, and what it costs.

    python -m bench.stability RUN                                            ten nights on the same data
    python -m bench.stability RUN --new 0.01                                 each with 1 % more training interactions
    python -m bench.stability RUN --sparse MOVIELENS/interactions.parquet    on the draw of `bench.warm_start`

RUN is the folder of a run that is done up to `prepare`; its configuration is trained with. Held-out interactions are
the same in all nights, so that their figures compare. `--cold` begins every night at random parameters instead, with
the weights that the first has found.
"""

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor
from upath import UPath

from bench.warm_start import make_dataset, sparse_interactions
from model.allocator import freed_memory_kept
from model.evaluation import InnerProduct
from model.finishing.finish import Finished, finish
from model.micro import Micro
from model.training import Trainer
from model.warm_start import carry_over
from pipeline.columns import ITEM_ID, ITEM_INDEX, SPLIT, TRAIN, USER_INDEX
from pipeline.config.config import Config, compose
from pipeline.dataset.dataset import Dataset, load_dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.release.drift import Known, measure_drift
from pipeline.release.rotation import procrustes, rotated
from pipeline.release.space import DriftRow
from pipeline.storage.files import read_json

SHOWN = ("recall@20", "ndcg@20")


@dataclass(frozen=True, kw_only=True)
class Night:
    """What a night leaves for the next one."""

    parameters: dict[str, Tensor]
    weights: dict[str, float]
    finished: Finished
    items: np.ndarray
    """In the space of the first night, float32 (I, D)."""
    users: np.ndarray


def grown(dataset: Dataset, share: float) -> Dataset:
    """The data set with this share of its training interactions, those of a smaller share among them."""
    draw = np.random.default_rng(0).random(len(dataset.interactions))
    kept = dataset.interactions.filter((pl.col(SPLIT) != TRAIN) | pl.Series(draw < share))
    return replace(dataset, interactions=kept)


def train_night(dataset: Dataset, config: Config, seed: int, before: Night | None, *, cold: bool) -> tuple[Night, str]:
    """Train, finish and measure; users and items are those of the night before."""
    protocol = EvaluationProtocol(dataset, config.split)
    data, held_out, settings = dataset.training_data(), protocol.held_out(), replace(config.train, seed=seed)
    start = time.process_time()
    known = before.weights if before else None  # as a night takes its champion's, warm or cold
    trainer = Trainer(data, held_out, config.model, settings, Micro, freed_memory_kept, found_weights=known)
    if before and not cold:
        everybody = torch.arange(data.num_users), torch.arange(data.num_items)
        trainer.start_from(carry_over(trainer.model, before.parameters, *everybody))
    list(trainer.fit())
    vectors, names = trainer.best_vectors(), trainer.model.modality_names
    former = before.finished.taste_weights if before else None
    finished = finish(vectors.user_UD, vectors.item_ID, data, held_out, config.model, names, former)
    metrics = protocol.test(InnerProduct(finished.user_UD, finished.item_ID)) or {}
    items, users = finished.item_ID.numpy(), finished.user_UD.numpy()
    if before:
        turn_DD = procrustes([(items, before.items), (users, before.users)])
        items, users = rotated(items, turn_DD), rotated(users, turn_DD)
    told = f"{trainer.epoch:6d} {trainer.best_epoch:5d} {time.process_time() - start:7.0f}" + "".join(
        f" {metrics[name]:9.4f}" for name in SHOWN
    )
    weights = asdict(trainer.adaptation.best)
    return Night(
        parameters=trainer.best_parameters(), weights=weights, finished=finished, items=items, users=users
    ), told


def moved(dataset: Dataset, before: Night, now: Night) -> DriftRow:
    """The drift of all items, as a release tells it."""
    popularity_I = np.bincount(dataset.pairs(TRAIN)[1].numpy(), minlength=len(now.items))
    user, item = (dataset.interactions[name].to_numpy() for name in (USER_INDEX, ITEM_INDEX))
    known = Known(
        items=(before.items, now.items),
        users=(before.users, now.users),
        popularity_I=popularity_I,
        content_only_I=popularity_I == 0,
        seen=(user, item),
    )
    return measure_drift(known)["all"]


def measure(dataset: Dataset, config: Config, nights: int, new: float, *, cold: bool, seeds: bool) -> list[DriftRow]:
    """Print a line a night; the drift of each but the first."""
    print("night epochs  best seconds recall@20   ndcg@20 | cosine  lowest 5%  neighbours  recommendations kept")
    before, rows = None, []
    for number in range(nights + 1):
        today = grown(dataset, 1 - new * (nights - number)) if new else dataset
        night, told = train_night(today, config, config.train.seed + number * seeds, before, cold=cold)
        if before:
            row = moved(today, before, night)
            rows.append(row)
            figures = (row.cosine_median, row.cosine_tail, row.neighbours_kept, row.recommendations_kept)
            told += " |" + "".join(f" {figure or 0:9.4f}" for figure in figures)
        print(f"{number:5d} {told}", flush=True)
        before = night
    return rows


def main() -> None:
    """Measure one chain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a run that is done up to `prepare`")
    parser.add_argument("--sparse", help="MovieLens' interactions.parquet")
    parser.add_argument("--nights", type=int, default=10, help="after the first, which is cold")
    parser.add_argument("--new", type=float, default=0.0, help="share of training interactions that a night brings")
    parser.add_argument("--seeds", action="store_true", help="another train.seed every night")
    parser.add_argument("--cold", action="store_true", help="every night begins at random parameters")
    given = parser.parse_args()
    torch.set_num_threads(1)
    run = UPath(given.run)
    config, dataset = compose(read_json(run / "config.json"), base=Path()), load_dataset(run / "prepare")
    if given.sparse:
        known = dataset.items[ITEM_ID].is_not_null()
        dataset = make_dataset(dataset, sparse_interactions(given.sparse), config.split, known)
    measure(dataset, config, given.nights, given.new, cold=given.cold, seeds=given.seeds)


if __name__ == "__main__":
    main()
