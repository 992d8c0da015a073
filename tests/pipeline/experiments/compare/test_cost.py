import subprocess
import sys

import pytest
import torch

from model.data import TrainingData
from pipeline.experiments.compare import cost
from pipeline.experiments.compare.cost import ease_cost, neighbours_cost, nothing, taste_cost

MEASURE = r"""
import re, sys
from pathlib import Path
from model.baselines.ease import ease
from model.baselines.neighbours import item_knn
from pipeline.resources import resident_memory_bytes
from tests.pipeline.experiments.compare.test_cost import shop

fit = {"ease": lambda data: ease(data, 10.0), "item-knn": lambda data: item_knn(data, 20)}[sys.argv[1]]
fit(shop(64))
data = shop(int(sys.argv[2]))
before = resident_memory_bytes()
best = fit(data)
fit(data)
# Not ru_maxrss: a process begins with its parent's.
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) * 1024 - before)
"""


def shop(num_items, num_users=200):
    generator = torch.Generator().manual_seed(0)
    pair = torch.unique(torch.randint(num_users * num_items, (num_items * 3,), generator=generator))
    return TrainingData(
        num_users=num_users,
        num_items=num_items,
        user_T=pair // num_items,
        item_T=pair % num_items,
        features={"text": torch.randn(num_items, 8, generator=generator)},
        present={"text": torch.ones(num_items, dtype=torch.bool)},
    )


@pytest.mark.integration
@pytest.mark.parametrize(("name", "forecast"), [("ease", ease_cost), ("item-knn", neighbours_cost)])
def test_cost_memory_is_what_a_fit_takes_beside_the_best_so_far(name, forecast):
    num_items = 4000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, name, str(num_items)], capture_output=True, text=True, check=True
    )
    taken, predicted = int(done.stdout), forecast(shop(num_items)).memory_bytes
    assert 0.8 * predicted < taken < 1.1 * predicted


def test_ease_cost_time_grows_with_the_cube_of_the_items_and_memory_with_the_square(monkeypatch):
    monkeypatch.setattr(cost, "_seconds_of_sample", lambda: 0.5)
    small, large = ease_cost(shop(2 * cost.SAMPLE_SIZE)), ease_cost(shop(20 * cost.SAMPLE_SIZE))
    assert (small.seconds, large.seconds) == (pytest.approx(4), pytest.approx(4000))
    assert large.memory_bytes / small.memory_bytes > 50


def test_ease_cost_sample_is_timed_once():
    assert cost._seconds_of_sample() == cost._seconds_of_sample() > 0


def test_cost_of_neighbours_counts_the_matrix_of_items_and_of_taste_the_vectors_of_everyone():
    data = shop(1000, num_users=5000)
    assert neighbours_cost(data).memory_bytes >= 2 * 1000**2 * 4
    assert taste_cost(data).memory_bytes >= 2 * 6000 * 8 * 4
    assert nothing(data).memory_bytes == 0
