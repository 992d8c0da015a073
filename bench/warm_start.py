"""Epochs and processor seconds until the same validation metric, warm against cold, with 1 % new interactions.

Sparse MovieLens: ratings from 4 up, at most 12 a user, items with at least 3. The night brings the whole of a few
users and items that the champion has not heard of, and the newest of the other interactions. Champion and night
split their own data, as two runs of the pipeline do.

    python -m bench.warm_start PREPARED INTERACTIONS

PREPARED is the `prepare` folder of a run on the same catalogue (`configs/movielens.toml`), for items and features;
INTERACTIONS is MovieLens' `interactions.parquet`.
"""

import argparse
import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import polars as pl
import torch
from upath import UPath

from model.allocator import freed_memory_kept
from model.config import ModelConfig, TrainConfig
from model.data import HeldOut
from model.micro import Micro
from model.training import WARM_RATE, Trainer
from model.warm_start import carry_over
from pipeline.columns import ITEM_ID, TIMESTAMP, USER_ID, VALIDATION
from pipeline.dataset.alignment import TRAINED_ON, earlier_rows, pairs_by_id
from pipeline.dataset.dataset import Dataset, index_interactions, load_dataset
from pipeline.dataset.split import SplitConfig, split_interactions
from pipeline.stages.warm_start import trained_before

MODEL = ModelConfig()
TRAIN = TrainConfig(device="cpu", check_every=1, patience=6)
NEW_SHARE, NEW_ENTITY_SHARE = 0.01, 0.0025
MOST_PER_USER, LEAST_PER_ITEM = 12, 3


def sparse_interactions(file: str) -> pl.DataFrame:
    """At most 12 interactions of a user at random, of items that then have 3."""
    liked = pl.read_parquet(file).filter(pl.col("rating") >= 4).select(USER_ID, ITEM_ID, TIMESTAMP)
    liked = liked.unique([USER_ID, ITEM_ID]).sort(USER_ID, ITEM_ID)
    drawn = liked.with_columns(draw=pl.Series(np.random.default_rng(7).random(len(liked))))
    few = drawn.filter(pl.col("draw").rank("ordinal").over(USER_ID) <= MOST_PER_USER).drop("draw")
    return few.filter(pl.len().over(ITEM_ID) >= LEAST_PER_ITEM)


def is_new(interactions: pl.DataFrame, seed: int) -> pl.Series:
    """Which 1 % the night brings: all of some users and items, and the newest of the rest."""
    rng = np.random.default_rng(seed)
    chosen = pl.lit(False)
    for column in (USER_ID, ITEM_ID):
        ids = interactions[column].unique().sort().to_numpy()
        chosen |= pl.col(column).is_in(rng.choice(ids, round(NEW_ENTITY_SHARE * len(ids)), replace=False).tolist())
    by_age = pl.struct(~chosen, -pl.col(TIMESTAMP).dt.epoch(), USER_ID, ITEM_ID).rank("ordinal")
    return interactions.select(by_age <= round(NEW_SHARE * len(interactions))).to_series()


def make_dataset(
    catalogue: Dataset,
    interactions: pl.DataFrame,
    split: SplitConfig,
    known: pl.Series,
    earlier: Dataset | None = None,
) -> Dataset:
    """A run's dataset of these interactions and of the catalogue's items that are `known`, after an earlier run's."""
    trained = pairs_by_id(earlier, TRAINED_ON) if earlier else None
    items, keep = catalogue.items.filter(known), known.to_numpy()
    users, indexed = index_interactions(split_interactions(interactions, split, trained), items)
    return Dataset(
        items=items,
        users=users,
        interactions=indexed,
        features={name: matrix[keep] for name, matrix in catalogue.features.items()},
        present={name: mask[keep] for name, mask in catalogue.present.items()},
    )


def make_trainer(dataset: Dataset, config: TrainConfig) -> Trainer[Micro]:
    user_P, item_P = dataset.pairs(VALIDATION)
    return Trainer(
        dataset.training_data(), HeldOut(user_P=user_P, item_P=item_P), MODEL, config, Micro, freed_memory_kept
    )


def curve(trainer: Trainer[Micro]) -> Iterator[tuple[int, float, float]]:
    """Epoch, seconds of processor time so far and validation Recall@20, until patience runs out."""
    start = time.process_time()
    for report in trainer.fit():
        if report.metric is not None:
            yield report.epoch, time.process_time() - start, report.metric


def first_at(points: list[tuple[int, float, float]], target: float) -> str:
    """When a curve first came to the target."""
    for epoch, seconds, metric in points:
        if metric >= target:
            return f"{epoch:2d} ({seconds:4.0f} s)"
    return "never"


def measure(
    catalogue: Dataset, interactions: pl.DataFrame, seed: int, rates: list[float], train: TrainConfig = TRAIN
) -> None:
    """One seed, of split, training and night alike: the champion, the cold night and the warm ones."""
    new, split, config = is_new(interactions, seed), SplitConfig(seed=seed), dataclasses.replace(train, seed=seed)
    before = interactions.filter(~new)
    only_new = interactions.join(before, on=ITEM_ID, how="anti")[ITEM_ID].unique()
    yesterday = make_dataset(catalogue, before, split, ~catalogue.items[ITEM_ID].is_in(only_new.implode()))
    today = make_dataset(catalogue, interactions, split, catalogue.items[ITEM_ID].is_not_null(), yesterday)
    rows = earlier_rows(yesterday, today)
    print(
        f"seed {seed}: {len(interactions)} interactions, {int(new.sum())} new; "
        f"{int((rows[0] < 0).sum())} new users, {int((rows[1] < 0).sum())} new items; "
        f"{trained_before(yesterday, today):.2%} of what is held out was trained on",
        flush=True,
    )
    champion, cold = make_trainer(yesterday, config), make_trainer(today, config)
    list(curve(champion))
    print(f"  champion: best {champion.best_metric:.4f} at epoch {champion.best_epoch}", flush=True)
    points = list(curve(cold))
    targets = [share * cold.best_metric for share in (0.98, 0.99, 1.0)]
    show("cold", cold, points, targets)
    for rate in rates:
        warm = make_trainer(today, config)
        start = warm.start_from(carry_over(warm.model, champion.best_parameters(), *rows), rate)
        points = [(0, 0.0, start or 0.0), *curve(warm)]
        show(f"warm, rate {rate:g}, starts at {start:.4f}", warm, points, targets)


def show(name: str, trainer: Trainer[Micro], points: list[tuple[int, float, float]], targets: list[float]) -> None:
    reached = ", ".join(f"{first_at(points, target)} to {target:.4f}" for target in targets)
    total = f"stopped after {points[-1][0]} ({points[-1][1]:.0f} s)"
    print(f"  {name}: {reached}; best {trainer.best_metric:.4f} at {trainer.best_epoch}; {total}", flush=True)


def main() -> None:
    """Measure every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", help="`prepare` folder of a run")
    parser.add_argument("interactions", help="MovieLens' interactions.parquet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[WARM_RATE], help="of the configured learning rate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    catalogue, interactions = load_dataset(UPath(arguments.prepared)), sparse_interactions(arguments.interactions)
    for seed in arguments.seeds:
        measure(catalogue, interactions, seed, arguments.rates)


if __name__ == "__main__":
    main()
