"""From interactions and features to evaluated vectors on MovieLens, beside the plain formulation.

Interactions are the real ones, rated 4 and more; which items have a picture and a text is real, too. The features are
noise from a seed in the shapes of EfficientNet-Lite0 and MiniLM: time and memory depend on their shape alone.
"""

import statistics
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch

from bench import plain
from bench.measure import GIB, Report, extra_memory, seconds, show
from bench.workload import SOFTMAX, make_trainer, movielens_folder
from model.data import TrainingData
from model.evaluation import InnerProduct, Pairs, rank_items, summarise
from model.micro import Vectors
from pipeline.columns import ITEM_ID, TEST, USER_ID, VALIDATION
from pipeline.dataset.dataset import Dataset, index_interactions
from pipeline.dataset.split import SplitConfig, split_interactions

EPOCHS = 5
ROUNDS = 3
PLAIN_USERS = 200  # the plain form takes equally long for every user: measured on these, stated for all
CUTOFF = 20
FEATURES = {"image": ("image_path", 1280), "text": ("description", 384)}


def main(epochs: int = EPOCHS, rounds: int = ROUNDS) -> None:
    """All of ours between steps of the plain one; then the plain one's other parts."""
    report = Report(f"end to end, MovieLens, {epochs} epochs")
    folder = movielens_folder()
    if folder is None:
        report.row("everything", "not measured", "MovieLens is not at hand: MICROREC_MOVIELENS names its folder")
    else:
        _compare(report, load(folder), epochs, rounds)
    report.finish()


def load(folder: Path) -> Dataset:
    """The catalogue with features of noise, and its interactions, split at random."""
    items = pl.read_parquet(folder / "items.parquet").sort(ITEM_ID)
    rated = pl.read_parquet(folder / "interactions.parquet").filter(pl.col("rating") >= 4)
    interactions = rated.select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID)
    users, indexed = index_interactions(split_interactions(interactions, SplitConfig()), items)
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(len(items), dim, generator=generator) for name, (_, dim) in FEATURES.items()}
    return Dataset(
        items=items,
        users=users,
        interactions=indexed,
        features={name: feature.numpy() for name, feature in features.items()},
        present={name: items[column].is_not_null().to_numpy() for name, (column, _) in FEATURES.items()},
    )


def _compare(report: Report, dataset: Dataset, epochs: int, rounds: int) -> None:
    data = dataset.training_data()
    counts = f"{data.num_users:,} users, {data.num_items:,} items, {len(dataset.interactions):,} interactions"
    report.row("data", counts, "rated 4 and more; features of noise, 1280 + 384 dimensions")
    metrics: dict[str, float] = {}
    ours: list[float] = []

    def fast() -> None:
        metrics.update(_evaluated(_train(data, epochs), data, dataset))

    memory = extra_memory(lambda: ours.append(seconds(fast)))
    slow = _Plain(data, dataset, epochs)
    plain_memory = extra_memory(slow.begin)  # no other part of it has dense graphs and their gradients
    for _ in range(rounds):
        slow.step()
        ours.append(seconds(fast))
    slow.evaluate()
    gain = slow.total / statistics.median(ours)
    report.row("plain", f"{slow.total:.0f} s", f"computed: {slow.parts}; {plain_memory / GIB:.2f} GiB extra")
    note = f"{gain:.0f} x plain; {memory / GIB:.2f} GiB extra; recall@{CUTOFF} {metrics[f'recall@{CUTOFF}']:.4f}"
    report.row("ours", show(ours), note)


def _train(data: TrainingData, epochs: int) -> Vectors:
    trainer = make_trainer(data, None, replace(SOFTMAX, max_epochs=epochs))
    list(trainer.fit())
    return trainer.best_vectors()


def _evaluated(vectors: Vectors, data: TrainingData, dataset: Dataset) -> dict[str, float]:
    """Metrics on the test part, training and validation masked."""
    counts = data.num_users, data.num_items
    relevant = Pairs(*dataset.pairs(TEST), *counts)
    seen = [Pairs(data.user_T, data.item_T, *counts), Pairs(*dataset.pairs(VALIDATION), *counts)]
    ranking = rank_items(InnerProduct(vectors.user_UD, vectors.item_ID), relevant.users(), seen, CUTOFF)
    return summarise(ranking, relevant, [CUTOFF], data.num_items)


class _Plain:
    """The plain formulation, part by part, each timed."""

    def __init__(self, data: TrainingData, dataset: Dataset, epochs: int) -> None:
        self.data, self.epochs = data, epochs
        known = (torch.cat(sides) for sides in zip((data.user_T, data.item_T), dataset.pairs(VALIDATION), strict=True))
        self.seen = plain.item_sets(*known)
        self.relevant = plain.item_sets(*dataset.pairs(TEST))
        self.later: list[float] = []

    def begin(self) -> None:
        """Initial graphs, and an epoch's first step."""
        self.graphs = seconds(self._build)
        self.first = seconds(lambda: self.trainer.step(first=True))

    def _build(self) -> None:
        self.trainer = plain.PlainTrainer(self.data)

    def step(self) -> None:
        """One of an epoch's other steps."""
        self.later.append(seconds(lambda: self.trainer.step(first=False)))

    def evaluate(self) -> None:
        """Some users."""
        with torch.no_grad():
            user_UD, item_ID, _, _ = self.trainer.model()
        some = dict(list(self.relevant.items())[:PLAIN_USERS])
        taken = seconds(lambda: plain.evaluate(user_UD, item_ID, self.seen, some, CUTOFF))
        self.evaluation = taken / len(some) * len(self.relevant)

    @property
    def total(self) -> float:
        """Seconds of all epochs and all users."""
        epoch = self.first + (self.trainer.steps_per_epoch - 1) * statistics.median(self.later)
        return self.graphs + self.epochs * epoch + self.evaluation

    @property
    def parts(self) -> str:
        """What the total is made of."""
        return (
            f"graphs {self.graphs:.3g} s, {self.epochs} first steps of {self.first:.3g} s, "
            f"{self.epochs * (self.trainer.steps_per_epoch - 1)} others of {show(self.later)}, "
            f"evaluation {self.evaluation:.3g} s from {PLAIN_USERS} users"
        )


if __name__ == "__main__":
    main()
