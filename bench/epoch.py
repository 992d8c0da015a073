"""A training epoch at Baby's shape, beside the plain formulation with the authors' settings."""

import statistics
from dataclasses import replace
from typing import Any

from bench import plain
from bench.measure import GIB, Report, interleaved, peak_memory, seconds, show
from bench.workload import BABY, SOFTMAX, Shape, make, make_trainer
from model.micro import Micro
from model.training import SEARCH_EVERY, Trainer

PLAIN_STEPS = 3


def main() -> None:
    """An epoch of ours, some steps of the plain one before and after it; then growth of ours with the data."""
    report = Report("training epoch, Baby's shape (19,445 x 7,050, 119,674 pairs, 4096 + 1024 features)")
    data, held_out = make(BABY)
    trainer = make_trainer(data, held_out, SOFTMAX)
    epoch(trainer)
    memory = peak_memory()
    slow = plain.PlainTrainer(data)
    first, later, ours = [seconds(lambda: slow.step(first=True))], [], []
    for _ in range(PLAIN_STEPS):
        later.append(seconds(lambda: slow.step(first=False)))
        ours.append(seconds(lambda: epoch(trainer)))
    plain_epoch = first[0] + (slow.steps_per_epoch - 1) * statistics.median(later)
    gain = plain_epoch / statistics.median(ours)
    report.row(
        "plain",
        f"{plain_epoch:.0f} s",
        f"computed: a first step of {show(first)}, {slow.steps_per_epoch - 1} of {show(later)}",
    )
    steps = trainer.ranking_loss.num_batches(trainer.batch_size)
    report.row(
        "ours", show(ours), f"{gain:.0f} x plain; {steps} steps and the graphs anew; peak {memory / GIB:.2f} GiB"
    )
    report.row("the plain one's peak", f"{peak_memory() / GIB:.2f} GiB", "in the same process, after ours")
    _floor(report, trainer, statistics.median(ours))
    report.bar("training epoch at Baby's shape: at least 80 x the plain one", f"{gain:.0f} x", gain >= 80)
    _growth(report)
    report.finish()


def epoch(trainer: Trainer[Micro]) -> None:
    """What `Trainer.fit` does between two reports, without the check."""
    trainer.train_epoch()
    trainer.model.refresh_graphs()


def _floor(report: Report, trainer: Trainer[Micro], ours: float) -> None:
    """The sparse products that an epoch cannot do without: every layer, the last for the batch's users, and back."""
    model: Any = trainer.model
    adjacency = model.backbone.adjacency
    user_UD, item_ID = model.user_embedding_UD.detach(), model.item_embedding_ID.detach()
    graphs = [graph._constant for graph in model.item_graphs.values()]

    batch = next(iter(trainer.ranking_loss.batches(trainer.batch_size, trainer.generator)))
    last, first_back = adjacency.of_users(batch.user_B)

    def products() -> None:
        for _ in range(model.config.backbone_layers - 1):
            for halves in (adjacency.forward, adjacency.backward):
                halves.to_user @ item_ID
                halves.to_item @ user_UD
        last.to_user @ item_ID
        last.to_item @ user_UD
        first_back.to_user @ item_ID
        first_back.to_item @ user_UD[batch.user_B]
        for graph in graphs:
            graph.forward @ item_ID
            graph.backward @ item_ID

    steps = trainer.ranking_loss.num_batches(trainer.batch_size)
    (bare,) = interleaved([products], rounds=5)
    total = steps * statistics.median(bare)
    report.row(
        "floor: the epoch's bare sparse products", f"{total:.3g} s", f"ours takes {ours / total:.1f} x the floor"
    )


def _growth(report: Report) -> None:
    """Cost of an epoch as items, users and interactions grow tenfold, and by default the batch with them."""
    small = replace(BABY, name="small", features={"text": 64})
    taken = [_seconds_an_epoch(shape) for shape in (small, small.times(10, "large"))]
    factor = taken[1] / taken[0]
    report.row(
        "10 x items, users and interactions",
        f"{taken[0]:.3g} s to {taken[1]:.3g} s",
        f"{factor:.1f} x the epoch; means of {SEARCH_EVERY} epochs, of which one searches approximate graphs anew",
    )
    report.bar(
        "an epoch as items and interactions grow 10 x, from 7,050 items to 70,500: at most 12 x",
        f"{factor:.1f} x",
        factor <= 12,
    )


def _seconds_an_epoch(shape: Shape) -> float:
    data, _ = make(shape)
    trainer = make_trainer(data, None, replace(SOFTMAX, max_epochs=SEARCH_EVERY))
    return statistics.mean(report.seconds for report in trainer.fit())


if __name__ == "__main__":
    main()
