"""Contrastive term, forward and backward: exact in chunks and sampled, beside two I x I matrices."""

import math

import torch

from bench import plain
from bench.measure import GIB, Report, extra_memory, interleaved, ratio, show
from bench.workload import BABY
from model.contrastive import contrastive_loss

SAMPLES = 512


def main() -> None:
    """Measure at Baby's number of items, D = 64, one modality."""
    report = Report("contrastive term, 7,050 items x 64, one modality")
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(2, BABY.num_items, 64, generator=generator, requires_grad=True)
    items = torch.arange(BABY.num_items)
    zero, log_count = torch.zeros(len(items)), torch.full((SAMPLES,), math.log((SAMPLES - 1) / len(items)))

    def plainly() -> None:
        plain.contrastive_loss(vector[0], vector[1]).backward()

    def exactly() -> None:
        contrastive_loss(vector[0], vector[1], items, items, zero, plain.TEMPERATURE).backward()

    def sampled() -> None:
        sample = torch.randint(len(items), (SAMPLES,), generator=generator)
        contrastive_loss(vector[0], vector[1], sample, sample, log_count, plain.TEMPERATURE).backward()

    def floor() -> None:
        with (
            torch.no_grad()
        ):  # the four products that forward and backward cannot do without: Q K', P K, P' Q of 2 I keys
            key = torch.cat([vector[0], vector[1]])
            for query in vector[0].split(128):
                share = query @ key.T
                share @ key
                share.T @ query

    slow, exact, fast, bare = interleaved([plainly, exactly, sampled, floor], rounds=5)
    report.row("plain", show(slow), f"{extra_memory(plainly) / GIB:.2f} GiB")
    report.row(
        "exact, chunked", show(exact), f"{ratio(slow, exact):.1f} x plain; {extra_memory(exactly) / GIB:.2f} GiB"
    )
    report.row("sampled, 512", show(fast), f"{ratio(slow, fast):.0f} x plain; {extra_memory(sampled) / GIB:.2f} GiB")
    report.row("floor: the bare products", show(bare), f"exact takes {ratio(exact, bare):.1f} x the floor")
    report.finish()


if __name__ == "__main__":
    main()
