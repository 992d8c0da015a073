import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.topk import top_k


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 4),
    num_entries=st.integers(1, 2000),
    num_kept=st.integers(1, 12),
    levels=st.sampled_from([3, 50, 10_000]),
    seed=st.integers(0, 10_000),
)
def test_top_k_many_equal_entries_same_values_as_sorting(num_rows, num_entries, num_kept, levels, seed):
    generator = torch.Generator().manual_seed(seed)
    value = torch.randint(levels, (num_rows, num_entries), generator=generator).float()
    value[value == 0] = -torch.inf
    kept = min(num_kept, num_entries)
    got, place = top_k(value, kept)
    assert torch.equal(got, value.sort(dim=1, descending=True).values[:, :kept])
    assert torch.equal(got, value.gather(1, place))
    assert all(len(set(row)) == kept for row in place.tolist())


def test_top_k_long_rows_search_few_entries(monkeypatch):
    """What is sorted out after the maxima is a small part of a row."""
    searched = []
    original = torch.Tensor.topk

    def counting(value, *arguments, **keywords):
        searched.append(value.shape[1])
        return original(value, *arguments, **keywords)

    monkeypatch.setattr(torch.Tensor, "topk", counting)
    top_k(torch.rand(2, 100_000), 10)
    assert sum(searched) < 0.05 * 100_000
    assert len(searched) == 2
