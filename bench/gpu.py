"""Every figure that needs a GPU, and every computation on it held against the CPU's, in one call.

    python -m bench gpu                                            # a GPU, at most ten minutes; into docs/benchmarks.md
    python -m bench.gpu --device cpu --items 2000 --pairs 20000    # dry run

Needs torch and numpy only, so that it runs from a checkout on a bare image; image extraction is measured where the
encoder's libraries are.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.measure import GIB, Report, interleaved, ratio, show
from bench.workload import CLOTHING, MILLION, SOFTMAX, make, make_trainer
from model.approximate import measured_recall
from model.config import ModelConfig, Normalisation, ObjectiveConfig, RankingName, starting_weights
from model.contrastive import contrastive_loss
from model.data import TrainingData
from model.evaluation import InnerProduct, Pairs, rank_items
from model.graph import NeighbourGraph, nearest_neighbours
from model.micro import Micro
from model.objective import objective
from model.ranking import make_ranking_loss
from model.topk import top_k
from model.user_item import UserItemGraph

TOLERANCE = 2e-4
GRAPH_ROUNDS = 2
PICTURES, PICTURES_PER_BATCH, COPIES = 1000, 256, 40  # rendering takes half a minute
# In a process whose main module is small, as `microrec`'s is: those that prepare pictures load it, too.
EXTRACTION = """
import json, sys
from dataclasses import asdict
from bench.extraction import measure
print(json.dumps(asdict(measure(sys.argv[1], *map(int, sys.argv[2:])))))
"""
SMALL = replace(CLOTHING, num_users=400, num_items=600, num_pairs=4000, features={"image": 640, "text": 32})
STEP_SEED = 25  # an item's 10th and 11th neighbour differ by 5e-5 at least: rounding does not swap them
NORMALISATIONS: tuple[Normalisation, ...] = ("symmetric", "row")
RANKINGS: tuple[RankingName, ...] = ("softmax", "squares", "bpr")


def main() -> None:
    """Check, then measure; exit status 1 where the device disagrees with the CPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--items", type=int, default=MILLION.num_items, help="items and users of the large catalogue")
    parser.add_argument("--pairs", type=int, default=MILLION.num_pairs)
    parser.add_argument("--epochs", type=int, default=1000, help="at most, for Clothing's shape")
    parser.add_argument("--seconds", type=float, default=540.0, help="no measurement is begun after this")
    arguments = parser.parse_args()
    device, start = torch.device(arguments.device), time.perf_counter()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "none, a dry run on the CPU"
    report = Report(f"One GPU: {name}, torch {torch.__version__}")
    agrees = check(report, device)
    scale = min(1.0, arguments.items / MILLION.num_items)
    for measure in (_graph, _epoch, _clothing, _extraction):
        if time.perf_counter() - start > arguments.seconds:
            report.row(measure.__name__.strip("_"), "not begun", "out of time")
            continue
        measure(report, device, arguments, scale)
    print(json.dumps(asdict(report)))
    raise SystemExit(0 if agrees else 1)


def check(report: Report, device: torch.device) -> bool:
    """Compare graphs, products, contrast, ranking and a step's losses and gradients with the CPU's on small inputs."""
    reference, ours = _outcome(torch.device("cpu")), _outcome(device)
    errors = {key: _error(ours[key], reference[key]) for key in reference}
    for key, error in errors.items():
        report.row(f"agreement of {key}", f"{error:.1e}", f"allowed {TOLERANCE:.0e}")
    agrees = all(error <= TOLERANCE for error in errors.values())
    report.bar("every computation agrees with its CPU reference", f"{max(errors.values()):.1e} at worst", agrees)
    return agrees


def _error(ours: list[Tensor], reference: list[Tensor]) -> float:
    """Largest difference, of each tensor in units of its largest entry where that is below 1; NaN where one is."""
    differences = [
        (own.cpu() - right).abs().max() / right.abs().max().clamp(torch.finfo(right.dtype).tiny, 1)
        for own, right in zip(ours, reference, strict=True)
    ]
    return float(torch.stack(differences).max())


def _outcome(device: torch.device) -> dict[str, list[Tensor]]:
    """Results of every hot path from one seed, inputs drawn on the CPU."""
    drawn, _ = make(SMALL)
    data, generator = drawn.to(device), torch.Generator().manual_seed(0)
    user, item = (torch.randn(n, 64, generator=generator).to(device) for n in (data.num_users, data.num_items))
    long = torch.randn(20_000, 64, generator=generator).to(device)
    graphs = {
        f"graph of {name}": [nearest_neighbours(data.features[name], data.present[name], 10).similarity_IK]
        for name in data.features
    }
    seen = Pairs(data.user_T, data.item_T, data.num_users, data.num_items)
    ranking = rank_items(InnerProduct(user, item), torch.arange(len(user), device=device), [seen], 20)
    return {
        **graphs,
        "sparse products": _products(data, user, item),
        "contrastive loss and its gradient": _contrast(item),
        "ranking": [torch.gather(user @ item.T, 1, ranking.item_QK)],
        "the largest of long rows": [top_k(user @ long.T, 20)[0]],
        **{f"loss and gradients of a {name} step": _step(drawn, device, name) for name in RANKINGS},
    }


def _products(data: TrainingData, user: Tensor, item: Tensor) -> list[Tensor]:
    """Everyone's, and both ways for some users, with either normalisation."""
    some = torch.arange(0, len(user), 3, device=user.device).flip(0)
    products = []
    for normalisation in NORMALISATIONS:
        graph = UserItemGraph(data, normalisation)
        forward, backward = graph.of_users(some)
        products += [graph @ torch.cat([user, item]), forward.users(user[some], item), backward.items(user[some], item)]
    return products


def _contrast(item: Tensor) -> list[Tensor]:
    leaf, everything = item.clone().requires_grad_(), torch.arange(len(item), device=item.device)
    loss = contrastive_loss(leaf, leaf.roll(1, 0), everything, everything, item.new_zeros(len(item)), 0.5)
    return [loss.detach(), *torch.autograd.grad(loss, leaf)]


def _step(drawn: TrainingData, device: torch.device, ranking: RankingName) -> list[Tensor]:
    """The loss of one training step and every parameter's gradient; nothing in it is drawn on the device."""
    data, generator = drawn.to(device), torch.Generator().manual_seed(STEP_SEED)
    config = ObjectiveConfig(ranking=ranking, contrastive="exact", l2_exponent=1.0)
    loss = make_ranking_loss(data, config)
    model = Micro(data, ModelConfig(), torch.Generator(device)).to(device)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    values = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    model.load_state_dict(model.state_dict() | values)
    model.refresh_graphs(anew=True)
    batch = _moved(next(iter(make_ranking_loss(drawn, config).batches(1024, generator))), device)
    vectors = model(loss.users(batch), structure_gradient=True)
    weights = starting_weights(model.config, config)
    total = objective(vectors, model.modality_items, loss, batch, config, weights, generator).total
    return [total.detach(), *torch.autograd.grad(total, list(model.parameters()))]


def _moved(batch: Any, device: torch.device) -> Any:
    """A batch as the samplers make it on a device: only what the host reads stays on the CPU."""
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor) and name != "count_B"}
    return replace(batch, **{name: value.to(device) for name, value in tensors.items()})


def _timed(device: torch.device, function: Callable[[], object]) -> float:
    """Seconds of a call, the device's work included."""
    _synchronise(device)
    start = time.perf_counter()
    function()
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _graph(report: Report, device: torch.device, arguments: argparse.Namespace, scale: float) -> None:
    """Exact graph beside the bare bf16 product of the same size, in blocks that are thrown away."""
    feature = torch.randn(arguments.items, 1024, device=device)
    present = torch.ones(len(feature), dtype=torch.bool, device=device)
    unit = F.normalize(feature, dim=1)
    rounded = unit.bfloat16()

    def ours() -> NeighbourGraph:
        return nearest_neighbours(feature, present, 10, "exact")

    def bare() -> None:
        for block in rounded.split(2048):
            block @ rounded.T

    found = ours()
    ours_times, bare_times = interleaved([partial(_timed, device, call) for call in (ours, bare)], GRAPH_ROUNDS)
    size = f"{arguments.items:,} x 1024"
    recall = f"recall@9 {measured_recall(unit, found.neighbour_IK):.4f} beside float32's, 500 items"
    report.row(f"exact graph, {size}", show(ours_times), recall)
    report.row(
        "floor: the bare bf16 product",
        show(bare_times),
        f"{2 * 1024e-12 * len(unit) ** 2 / min(bare_times):.0f} TFLOP/s",
    )
    times = ratio(ours_times, bare_times)
    text = "exact graph, 1,000,000 x 1024: at most 2 x the bare bf16 product"
    report.bar(text, f"{times:.2f} x ({arguments.items:,} items)", scale == 1 and times <= 2)


def _epoch(report: Report, device: torch.device, arguments: argparse.Namespace, scale: float) -> None:
    """An epoch with the learned graph after it, and its parts: the graph, and a sparse product beside a copy."""
    shape = replace(MILLION, num_users=arguments.items, num_items=arguments.items, num_pairs=arguments.pairs)
    data, _ = make(shape)
    trainer = make_trainer(data, None, replace(SOFTMAX, device=str(device), batch_size=65_536, max_epochs=3))
    taken = [one.seconds for one in trainer.fit()][1:]
    graph = _timed(device, trainer.model.refresh_graphs)
    size, steps = f"{arguments.items:,} items", trainer.ranking_loss.num_batches(trainer.batch_size)
    peak = f"; peak {torch.cuda.max_memory_allocated(device) / GIB:.1f} GiB" if device.type == "cuda" else ""
    report.row(f"epoch, {size}", show(taken), f"{steps} steps; of it the learned graph {graph:.2f} s{peak}")
    matrix = UserItemGraph(data.to(device), "symmetric").forward.to_item
    dense = torch.randn(matrix.shape[1], 64, device=device)
    product, copy = (
        statistics.median(_timed(device, call) for _ in range(9)) for call in (lambda: matrix @ dense, dense.clone)
    )
    gathered, moved = 4 * dense.shape[1] * len(matrix.column_E), 2 * dense.nbytes
    note = f"{gathered / product / 1e12:.2f} TB/s of gathered rows; a copy moves {moved / copy / 1e12:.2f} TB/s"
    report.row(f"sparse product, {len(matrix.column_E):,} edges x 64", f"{product * 1e3:.2f} ms", note)
    worst = max(taken)
    text = "1M items, 10M interactions, one epoch: under 10 s"
    report.bar(text, f"{worst:.1f} s ({size})", scale == 1 and worst < 10)


def _clothing(report: Report, device: torch.device, arguments: argparse.Namespace, scale: float) -> None:
    shape = CLOTHING if scale == 1 else CLOTHING.times(scale, "part of clothing")
    data, held_out = make(shape)
    settings = replace(SOFTMAX, device=str(device), max_epochs=arguments.epochs)
    trainer = make_trainer(data, held_out, settings)
    taken = _timed(device, lambda: list(trainer.fit()))
    measured = f"{taken:.1f} s, {trainer.epoch} epochs, recall@20 {trainer.best_metric:.4f}"
    report.bar("Clothing's shape to early stopping: under 60 s", measured, scale == 1 and taken < 60)


def _extraction(report: Report, device: torch.device, arguments: argparse.Namespace, scale: float) -> None:
    """Whole extraction beside the bare encoder."""
    sizes = (PICTURES, PICTURES_PER_BATCH, COPIES) if scale == 1 else (32, 8, 2)
    command = [sys.executable, "-c", EXTRACTION, str(device), *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip() or f"ended with status {done.returncode}"
        report.row("image extraction", "not measured", reason.splitlines()[-1])
        return
    from bench.extraction import Measured

    found = Measured(**json.loads(done.stdout.splitlines()[-1]))
    rates = f"{found.pictures / found.first:,.0f} a second, the bare encoder {found.pictures / found.bare:,.0f}"
    report.row(f"image extraction, {found.pictures:,} pictures", f"{found.first:.1f} s", rates)
    text = "image extraction on a GPU: at least 90 % of the bare encoder's throughput"
    report.bar(text, f"{found.share:.0%} ({found.pictures:,} pictures)", scale == 1 and found.share >= 0.9)


if __name__ == "__main__":
    main()
