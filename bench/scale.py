"""Seconds and memory per stage as a catalogue grows: `python -m bench.scale 1000000` is the run of a million items.

Items and users alike in number, ten interactions an item, features of 64 dimensions; an epoch in batches of 65,536 and
one in the default's, which grow with the data.
"""

import argparse
import time
from dataclasses import replace

import torch

from bench.measure import GIB, Report, peak_memory
from bench.workload import MILLION, MODEL, SOFTMAX, make, make_trainer
from model.evaluation import InnerProduct, Pairs, rank_items, summarise
from model.memory import predicted_peak
from model.micro import Micro
from model.training import Trainer

LIMIT = 16 * GIB
EVALUATED = 10_000
BATCH = 65_536


class Stages:
    """Times one stage after the other and reports each as it ends."""

    def __init__(self, report: Report) -> None:
        self.report, self.last = report, time.perf_counter()

    def done(self, what: str, note: str = "") -> None:
        """Report the time since the stage before."""
        now = time.perf_counter()
        memory = f"resident peak so far {peak_memory() / GIB:.2f} GiB"
        self.report.row(what, f"{now - self.last:.2f} s", "; ".join(filter(None, [memory, note])))
        self.report.stages[what] = now - self.last
        self.last = time.perf_counter()


def _recall(trainer: Trainer[Micro]) -> str:
    """Of approximate graphs; exact ones have none to measure."""
    found = [
        f"{graph} {recall:.3f}" for graphs in trainer.model.graph_recall().values() for graph, recall in graphs.items()
    ]
    return f"recall of the graphs: {', '.join(found) or 'exact'}"


def main() -> None:
    """Generate, build, train, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("items", type=int, nargs="?", default=10_000)
    num_items = parser.parse_args().items
    report = Report(f"{num_items:,} items, {10 * num_items:,} interactions, {torch.get_num_threads()} threads")
    stages = Stages(report)
    shape = MILLION.times(num_items / MILLION.num_items, "scale")
    data, held_out = make(shape)
    stages.done("generating")
    settings = replace(SOFTMAX, batch_size=BATCH)
    predicted = predicted_peak(data, MODEL, settings).total
    trainer = make_trainer(data, held_out, settings)
    stages.done("graphs (initial, learned) and adjacency", _recall(trainer))
    steps = trainer.ranking_loss.num_batches(BATCH)
    losses = trainer.train_epoch()
    stages.done("one epoch", f"{steps} steps, loss {losses.loss:.4f}")
    trainer.batch_size = SOFTMAX.interactions_per_step(len(data.user_T))
    steps = trainer.ranking_loss.num_batches(trainer.batch_size)
    losses = trainer.train_epoch()
    stages.done("one epoch, default batches", f"{steps} steps of {trainer.batch_size:,}, loss {losses.loss:.4f}")
    trainer.model.refresh_graphs()
    stages.done("learned graph again", _recall(trainer))
    vectors = trainer.vectors()
    seen = Pairs(data.user_T, data.item_T, data.num_users, data.num_items)
    relevant = Pairs(held_out.user_P, held_out.item_P, data.num_users, data.num_items)
    users = relevant.users()[:EVALUATED]
    ranking = rank_items(InnerProduct(vectors.user_UD, vectors.item_ID), users, [seen], 20)
    metrics = summarise(ranking, relevant, [20], data.num_items)
    stages.done("evaluation", f"{len(users):,} users; recall@20 {metrics['recall@20']:.4f}")
    peak = peak_memory()
    report.stages["peak, GiB"] = peak / GIB
    report.row("peak", f"{peak / GIB:.2f} GiB", f"predicted for training {predicted / GIB:.2f} GiB")
    if num_items == MILLION.num_items:
        report.bar("1,000,000 items: completes under 16 GiB", f"{peak / GIB:.2f} GiB", peak < LIMIT)
    report.finish()


if __name__ == "__main__":
    main()
