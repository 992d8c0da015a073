"""Item graphs: exact at the widths of real features, and where faiss becomes faster."""

import statistics

import torch
import torch.nn.functional as F

from bench import plain
from bench.measure import GIB, Report, extra_memory, interleaved, ratio, seconds, show
from bench.workload import BABY
from model.graph import nearest_neighbours

NEIGHBOURS = 10
SIZES = (20_000, 60_000, 120_000)  # items for exact against faiss


def main() -> None:
    """Measure at Baby's number of items, then exact against faiss as items grow."""
    report = Report("item graph, 7,050 items, k = 10")
    for dim in (4096, 64):
        _exact(report, dim)
    for num_items in SIZES:
        _approximate(report, num_items)
    report.finish()


def _exact(report: Report, dim: int) -> None:
    feature = torch.randn(BABY.num_items, dim, generator=torch.Generator().manual_seed(0))
    unit, present = F.normalize(feature, dim=1), torch.ones(len(feature), dtype=torch.bool)

    def plainly() -> None:
        plain.similarity_graph(feature, NEIGHBOURS)

    def fast() -> None:
        nearest_neighbours(feature, present, NEIGHBOURS).normalised()

    def bare() -> None:
        torch.mm(unit, unit.T)

    slow, ours, floor = interleaved([plainly, fast, bare], rounds=3)
    speed = ratio(floor, ours)
    report.row(f"{dim} dimensions, plain", show(slow), f"{extra_memory(plainly) / GIB:.2f} GiB")
    report.row(
        f"{dim} dimensions, ours", show(ours), f"{ratio(slow, ours):.1f} x plain; {extra_memory(fast) / GIB:.2f} GiB"
    )
    report.row(f"{dim} dimensions, floor: the bare product", show(floor), f"ours runs at {speed:.0%} of its speed")
    if dim == 4096:
        text = "exact graph, 7,050 x 4096, k = 10: at least 70 % of the speed of the bare matrix product"
        report.bar(text, f"{speed:.0%}", speed >= 0.7)


def _approximate(report: Report, num_items: int) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(num_items // 40, 64, generator=generator)
    family = torch.randint(len(centre), (num_items,), generator=generator)
    feature = centre[family] + torch.randn(num_items, 64, generator=generator)
    present, recall = torch.ones(num_items, dtype=torch.bool), [0.0]

    def exact() -> None:
        nearest_neighbours(feature, present, NEIGHBOURS, "exact")

    def faiss() -> None:
        recall[0] = nearest_neighbours(feature, present, NEIGHBOURS, "faiss").recall or 0.0

    slow, fast = [seconds(exact)], [seconds(faiss)]
    report.row(
        f"{num_items:,} x 64, exact and faiss",
        f"{show(slow)} and {show(fast)}",
        f"faiss {statistics.median(slow) / statistics.median(fast):.2f} x as fast, recall@9 {recall[0]:.3f}",
    )


if __name__ == "__main__":
    main()
