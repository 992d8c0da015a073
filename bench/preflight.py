"""The memory prediction beside the measured peak, on three sizes, each trained in a process of its own."""

import argparse
import json
import multiprocessing
from dataclasses import replace

from bench.measure import GIB, Report, peak_memory, resident_memory
from bench.workload import BABY, CLOTHING, MILLION, MODEL, SOFTMAX, Shape, make, make_trainer
from model.memory import predicted_peak

SHAPES = (
    BABY,
    replace(CLOTHING, name="clothing, 4096 + 1024"),
    replace(MILLION, name="150,000 items x 64", num_users=150_000, num_items=150_000, num_pairs=1_500_000),
)
CONFIG = replace(SOFTMAX, check_every=1)
TOLERANCE = 0.25


def measure(shape: Shape) -> tuple[int, int]:
    """Return (predicted, measured) bytes of a training of one epoch, beyond the idle program."""
    before = resident_memory()
    data, _ = make(shape)
    predicted = predicted_peak(data, MODEL, CONFIG).total
    del data
    _train(shape)
    return predicted, peak_memory() - before


def _train(shape: Shape) -> None:
    data, held_out = make(shape)
    next(make_trainer(data, held_out, CONFIG).fit())


def main() -> None:
    """Compare on every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, help="measure this size alone and print both figures")
    only = parser.parse_args().only
    if only is not None:
        print(json.dumps(measure(SHAPES[only])))
        return
    report = Report("memory: predicted and measured peak of training")
    errors = []
    context = multiprocessing.get_context("spawn")
    for shape in SHAPES:
        with context.Pool(1) as pool:
            predicted, measured = pool.apply(measure, (shape,))
        errors.append(predicted / measured - 1)
        report.row(
            shape.name, f"predicted {predicted / GIB:.2f}, measured {measured / GIB:.2f} GiB", f"{errors[-1]:+.0%}"
        )
    worst = max(errors, key=abs)
    report.bar("memory prediction within 25 % on three sizes", f"{worst:+.0%} at worst", abs(worst) <= TOLERANCE)
    report.finish()


if __name__ == "__main__":
    main()
