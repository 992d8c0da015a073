import multiprocessing
import platform
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from model.allocator import freed_memory_kept
from model.config import ModelConfig, TrainConfig
from model.data import TrainingData
from model.micro import Micro
from model.training import Trainer

SIZE = 64 << 20
CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")


def resident_bytes():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def step():
    """Take, fill and free a tensor; return what is resident afterwards."""
    torch.ones(SIZE // 4)
    return resident_bytes()


def started():
    """What is resident once torch's threads have started."""
    step()
    return resident_bytes()


def keeps_what_a_step_frees_until_the_end():
    before = started()
    assert step() < before + SIZE / 2
    with freed_memory_kept(CPU):
        assert step() > before + SIZE / 2
    assert resident_bytes() < before + SIZE / 2
    assert step() < before + SIZE / 2


def ends_with_an_error():
    before = started()

    @freed_memory_kept(CPU)
    def fail():
        step()
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fail()
    assert step() < before + SIZE / 2


def changes_nothing_for_another_device():
    before = started()
    with freed_memory_kept(torch.device("meta")):
        assert step() < before + SIZE / 2


@pytest.mark.parametrize(
    "check", [keeps_what_a_step_frees_until_the_end, ends_with_an_error, changes_nothing_for_another_device]
)
def test_freed_memory_kept(check):
    """In a new process: other tests leave free memory in the heap of this one, which a step would take."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(check)


def test_trainer_is_for_an_epoch_s_steps_within_what_it_was_given():
    entered = []

    @contextmanager
    def spy(device):
        entered.append(device)
        yield
        entered.append("left")

    user_T, item_T = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 0])
    data = TrainingData(num_users=3, num_items=2, user_T=user_T, item_T=item_T, features={}, present={})
    shape = ModelConfig(embedding_dim=8, modalities=())
    next(Trainer(data, None, shape, TrainConfig(device="cpu"), Micro, spy).fit())
    assert entered == [CPU, "left"]
