import platform

import pytest
import torch

from model.allocator import freed_memory_kept
from pipeline.resources import resident_memory_bytes

SIZE = 64 << 20
CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")


def step():
    """Take, fill and free a tensor; return what is resident afterwards."""
    torch.ones(SIZE // 4)
    return resident_memory_bytes()


@pytest.fixture
def before():
    step()  # starts torch's threads
    return resident_memory_bytes()


def test_freed_memory_kept_within_what_a_step_frees_stays_and_goes_back_at_the_end(before):
    assert step() < before + SIZE / 2
    with freed_memory_kept(CPU):
        assert step() > before + SIZE / 2
    assert resident_memory_bytes() < before + SIZE / 2
    assert step() < before + SIZE / 2


def test_freed_memory_kept_an_error_ends_it(before):
    @freed_memory_kept(CPU)
    def fail():
        step()
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fail()
    assert step() < before + SIZE / 2


def test_freed_memory_kept_other_device_changes_nothing(before):
    with freed_memory_kept(torch.device("meta")):
        assert step() < before + SIZE / 2
