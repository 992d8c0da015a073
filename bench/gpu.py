"""Every figure that needs a GPU, and every computation on it held against the CPU's, in one call.

    python -m bench.gpu                                       # a GPU, at most ten minutes
    python -m bench.gpu --device cpu --items 2000 --pairs 20000    # dry run

Needs torch and numpy only, so that it runs from a checkout on a bare image.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.measure import Report
from bench.workload import CLOTHING, MILLION, make
from model.contrastive import contrastive_loss
from model.evaluation import InnerProduct, Pairs, rank_items
from model.graph import nearest_neighbours
from model.micro import ModelConfig
from model.training import TrainConfig, Trainer
from model.user_item import UserItemGraph

TOLERANCE = 2e-4


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
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, dry run"
    report = Report(f"{name}, torch {torch.__version__}")
    agrees = check(report, device)
    scale = min(1.0, arguments.items / MILLION.num_items)
    for measure in (_graph, _epoch, _clothing):
        if time.perf_counter() - start > arguments.seconds:
            report.row(measure.__name__.strip("_"), "not begun", "out of time")
            continue
        measure(report, device, arguments, scale)
    print(json.dumps(asdict(report)))
    raise SystemExit(0 if agrees else 1)


def check(report: Report, device: torch.device) -> bool:
    """Compare graph, products, contrast, ranking and a step's losses with the CPU's on small inputs."""
    results = {str(where): _outcome(where) for where in (torch.device("cpu"), device)}
    reference, ours = results["cpu"], results[str(device)]
    errors = {key: float((ours[key].cpu() - reference[key]).abs().max()) for key in reference}
    for key, error in errors.items():
        report.row(f"agreement of {key}", f"{error:.1e}", f"allowed {TOLERANCE:.0e}")
    agrees = all(error <= TOLERANCE for error in errors.values())
    report.bar("every computation agrees with its CPU reference", f"{max(errors.values()):.1e} at worst", agrees)
    return agrees


def _outcome(device: torch.device) -> dict[str, Tensor]:
    """Results of every hot path from one seed, inputs drawn on the CPU."""
    shape = replace(CLOTHING, num_users=400, num_items=600, num_pairs=4000, features={"image": 640, "text": 32})
    data, _ = make(shape)
    data = data.to(device)
    generator = torch.Generator().manual_seed(0)
    user, item = (torch.randn(n, 64, generator=generator).to(device) for n in (shape.num_users, shape.num_items))
    graphs = {
        f"graph of {name}": nearest_neighbours(data.features[name], data.present[name], 10).similarity_IK
        for name in data.features
    }
    product = UserItemGraph(data, "symmetric") @ torch.cat([user, item])
    leaf, everything = item.clone().requires_grad_(), torch.arange(len(item), device=device)
    zero = item.new_zeros(len(item))
    contrast = contrastive_loss(leaf, leaf.roll(1, 0), everything, everything, zero, 0.5)
    contrast.backward()
    seen = Pairs(data.user_T, data.item_T, data.num_users, data.num_items)
    ranking = rank_items(InnerProduct(user, item), torch.arange(len(user), device=device), [seen], 20)
    score = torch.gather(user @ item.T, 1, ranking.item_QK)
    gradient = leaf.grad if leaf.grad is not None else zero
    contrasts = {"contrastive loss": contrast.detach()[None], "its gradient": gradient}
    return graphs | contrasts | {"sparse product": product, "ranking": score}


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
    ours = _timed(device, lambda: nearest_neighbours(feature, present, 10, "exact"))
    unit = F.normalize(feature, dim=1).bfloat16()
    rows = unit[: min(len(unit), 65_536)]
    part = _timed(device, lambda: [block @ unit.T for block in rows.split(2048)] and None)
    bare = part * len(unit) / len(rows)
    measured = f"{ours:.1f} s, {ours / bare:.1f} x ({arguments.items:,} items)"
    text = "exact graph, 1,000,000 x 1024: at most 2 x the bare bf16 product"
    report.bar(text, measured, scale == 1 and ours <= 2 * bare)


def _epoch(report: Report, device: torch.device, arguments: argparse.Namespace, scale: float) -> None:
    shape = replace(MILLION, num_users=arguments.items, num_items=arguments.items, num_pairs=arguments.pairs)
    data, _ = make(shape)
    trainer = Trainer(data, None, ModelConfig(), TrainConfig(device=str(device), batch_size=65_536, max_epochs=2))
    taken = [one.seconds for one in trainer.fit()][-1]
    measured = f"{taken:.1f} s ({arguments.items:,} items)"
    report.bar("1M items, 10M interactions, one epoch: under 10 s", measured, scale == 1 and taken < 10)


def _clothing(report: Report, device: torch.device, arguments: argparse.Namespace, scale: float) -> None:
    shape = CLOTHING if scale == 1 else CLOTHING.times(scale, "part of clothing")
    data, held_out = make(shape)
    settings = TrainConfig(device=str(device), max_epochs=arguments.epochs)
    trainer = Trainer(data, held_out, ModelConfig(), settings)
    taken = _timed(device, lambda: list(trainer.fit()))
    measured = f"{taken:.1f} s, {trainer.epoch} epochs, recall@20 {trainer.best_metric:.4f}"
    report.bar("Clothing's shape to early stopping: under 60 s", measured, scale == 1 and taken < 60)


if __name__ == "__main__":
    main()
