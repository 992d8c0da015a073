"""Dimension-parallel training: memory of each process and seconds a step, in one process and in two.

Users and items alike in number, ten interactions an item, features of 64 dimensions. The item graph is the initial one
alone: every process finds all neighbours, which `bench.graph` measures.
"""

import argparse
import itertools
import statistics
import time
from dataclasses import dataclass, replace

import torch

from bench.measure import GIB, Report, peak_memory, resident_memory
from bench.workload import MILLION, SOFTMAX, make
from model.allocator import freed_memory_kept
from model.config import ModelConfig
from model.memory import predicted_peak
from model.micro import Micro
from model.objective import objective
from model.ranks import joined, launch
from model.training import Trainer

STEPS = 4


@dataclass(frozen=True)
class Measured:
    """Of the first process."""

    split: int
    """Bytes of parameters, Adam's moments and the best copy."""
    peak: int
    """Bytes that training added at its peak."""
    predicted: int
    seconds: float
    """Median of a step."""
    loss: float


def train(num_items: int, dim: int, batch: int) -> Measured:
    """Some steps with this process's columns."""
    data, _ = make(MILLION.times(num_items / MILLION.num_items, "dimensions"))
    model = ModelConfig(embedding_dim=dim, initial_graph_weight=1.0, graph="exact")
    config = replace(SOFTMAX, batch_size=batch)
    loaded = sum(tensor.nbytes for tensor in (data.user_T, data.item_T, *data.features.values()))
    before = resident_memory() - loaded
    with joined(torch.device("cpu")) as columns:
        predicted = predicted_peak(data, model, config, columns.count).total
        trainer = Trainer(data, None, model, config, Micro, columns=columns)
        batches = trainer.ranking_loss.batches(batch, trainer.generator)
        times = []
        with freed_memory_kept(trainer.device):
            for drawn in itertools.islice(batches, STEPS):
                start = time.perf_counter()
                terms = objective(
                    trainer.model(), trainer.model.modality_items, trainer.ranking_loss, drawn, config.objective,
                    trainer.adaptation.weights, trainer.generator,
                )  # fmt: skip
                trainer.optimizer.zero_grad(set_to_none=True)
                terms.total.backward()
                trainer.optimizer.step()
                times.append(time.perf_counter() - start)
        moments = (slot for slots in trainer.optimizer.state_dict()["state"].values() for slot in slots.values())
        split = sum(tensor.nbytes for tensor in (*trainer.model.parameters(), *moments, *trainer._best.values()))
        return Measured(split, peak_memory() - before, predicted, statistics.median(times), float(terms.total.detach()))


def main() -> None:
    """Train with one process, then with two, each in new ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("items", type=int, nargs="?", default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8192)
    asked = parser.parse_args()
    report = Report(f"{asked.items:,} items x {asked.dim}, {10 * asked.items:,} interactions, batch {asked.batch:,}")
    for processes in (1, 2):
        measured: Measured = launch(processes, train, asked.items, asked.dim, asked.batch)
        report.row(
            f"{processes} processes, each" if processes > 1 else "1 process",
            f"peak {measured.peak / GIB:.2f} GiB, {measured.seconds:.2f} s a step",
            f"predicted {measured.predicted / GIB:.2f} GiB; parameters, moments and the best copy "
            f"{measured.split / GIB:.3f} GiB; loss {measured.loss:.6f}",
        )
    report.finish()


if __name__ == "__main__":
    main()
