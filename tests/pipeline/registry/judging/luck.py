"""Nights simulated without a model: how often the gate refuses equal models, and how often worse ones.

The ranks of held-out pairs are log-normal, as they were measured on the sample with two trainings that differ in their
seed alone (LightGCN without content): 800 users with 2 or 4 pairs, 584 items to rank, recall@20 0.25. The logarithm of
a rank has the standard deviation 1.58; between the two seeds it differs by 0.41. A worse model has all its ranks raised
by one factor. `python -m tests.pipeline.registry.judging.luck` prints the table of docs/decisions/0027-gate.md.
"""

import sys
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch

from model.evaluation import graded_gain
from pipeline.registry.gate import GateConfig
from pipeline.registry.judging.ground import Measured
from pipeline.registry.judging.judge import Compared, best_of, difference_rows, simultaneous
from pipeline.registry.judging.statistics import relative_difference

CUTOFF, NUM_ITEMS, NUM_USERS = 20, 584, 800
MEAN, DEVIATION, SEEDS_DIFFER_BY = 4.08, 1.58, 0.41
FOUR_PAIRS = 0.53
"""Share of the users with four pairs; the others have two."""


@dataclass(frozen=True)
class Shown:
    """What one model comes to in one night: a value a user."""

    recall_Q: np.ndarray
    gain_Q: np.ndarray


def shift_of(fall: float) -> float:
    """How much all logarithms of ranks must rise for recall to fall by this share."""
    normal, edge = NormalDist(MEAN, DEVIATION), np.log(CUTOFF + 0.5)
    return float(edge - normal.inv_cdf((1 - fall) * normal.cdf(edge)))


def night(rng: np.random.Generator, shifts: list[float], num_users: int = NUM_USERS) -> list[Shown]:
    """Models on the same pairs, each with the luck of its seed, and worse by its shift."""
    count_Q = np.where(rng.random(num_users) < FOUR_PAIRS, 4, 2)
    user_P = np.repeat(np.arange(num_users), count_Q)
    luck = SEEDS_DIFFER_BY / np.sqrt(2)
    common_P = rng.normal(MEAN, np.sqrt(DEVIATION**2 - luck**2), size=len(user_P))

    def shown(shift: float) -> Shown:
        rank_P = np.clip(np.round(np.exp(common_P + shift + luck * rng.normal(size=len(user_P)))), 1, NUM_ITEMS)
        items_P = torch.full((len(rank_P),), NUM_ITEMS)
        gain_P = graded_gain(torch.from_numpy(rank_P), items_P, CUTOFF).numpy()
        return Shown(*(np.bincount(user_P, value_P) / count_Q for value_P in (rank_P <= CUTOFF, gain_P)))

    return [shown(shift) for shift in shifts]


def compared(new: Shown, old: Shown, confidence: float) -> Compared:
    """Two models as the gate compares them."""
    return Compared(
        new=Measured(new.recall_Q, None),
        old=Measured(old.recall_Q, None),
        estimate=relative_difference(new.recall_Q, old.recall_Q, confidence),
        graded=relative_difference(new.gain_Q, old.gain_Q, confidence),
        note="",
    )


def refusals(
    gate: GateConfig, fall: float, draws: int, *, num_users: int = NUM_USERS, previous: int = 0, seed: int = 0
) -> dict[str, float]:
    """Share of the nights that the gate refuses a candidate worse by `fall`: by recall alone, and by all its rows."""
    rng, shift = np.random.default_rng(seed), shift_of(fall)
    count = {"recall": 0, "all": 0}
    for _ in range(draws):
        new, old, *before = night(rng, [shift, *[0.0] * (1 + previous)], num_users)
        rows = difference_rows(gate, "today", compared(new, old, gate.confidence), "")
        count["recall"] += rows[0].verdict == "refused"
        if before:
            level = simultaneous(gate.confidence, previous)
            rows += difference_rows(gate, "best", best_of([compared(new, one, level) for one in before]), "")
        count["all"] += any(row.verdict == "refused" for row in rows)
    return {name: number / draws for name, number in count.items()}


def main(draws: int = 2000) -> None:
    """Print the table."""
    gate = GateConfig()
    write = sys.stdout.write
    write("| users | fall of recall@20 | refused by recall@20 alone | refused |\n|---|---|---|---|\n")
    for num_users in (800, 3200, 20_000):
        for fall in (0.0, 0.02, 0.04, 0.05, 0.06, 0.08, 0.1):
            share = refusals(gate, fall, draws if num_users < 10_000 else draws // 10, num_users=num_users)
            write(f"| {num_users:,} | {fall:.0%} | {share['recall']:.1%} | {share['all']:.1%} |\n")
    share = refusals(gate, 0.0, draws, previous=5)
    write(f"\nEqual, and five earlier champions that are equal: refused {share['all']:.2%}\n")


if __name__ == "__main__":
    main()
