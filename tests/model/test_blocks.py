import torch

from model.blocks import Block


def test_block_stays_in_cache_but_never_has_only_a_few_rows():
    block, cpu = Block(8_000, few_rows_elements=10_000), torch.device("cpu")
    assert block.rows(100, cpu) == 80
    assert block.rows(300, cpu) == 32  # not the 26 that would fit
    assert block.rows(1_000, cpu) == 10  # as many as the few may hold together
    assert block.rows(1_000_000, cpu) == 1


def test_block_is_larger_on_a_gpu():
    assert Block(8_000, cuda_elements=1_000_000).rows(100, torch.device("cuda")) == 10_000
