import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contents import Content
from pipeline.sharding import BATCHES_PER_GROUP, in_groups, of_shard

BATCH = 4
STEP = BATCH * BATCHES_PER_GROUP


def texts(lengths):
    """Distinct contents of these lengths."""
    made = [f"{number}".ljust(length, "x") for number, length in enumerate(lengths)]
    return [Content(hashlib.sha256(text.encode()).hexdigest(), text, num_bytes=len(text)) for text in made]


def digests(groups):
    return [tuple(content.digest for content in group) for group in groups]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(5, 3000), min_size=1, max_size=400),
    count=st.integers(1, 5),
    seen=st.integers(0, 3),
    data=st.data(),
)
def test_of_shard_whatever_others_have_finished_each_group_has_one_shard(lengths, count, seen, data):
    catalogue = texts(lengths)
    new = [content for number, content in enumerate(catalogue) if seen == 0 or number % (seen + 1)]
    groups = in_groups(new, BATCH)
    done, owned = set(), []
    for index in data.draw(st.permutations(range(count))):
        left = [content for content in new if content.digest not in done]
        mine = digests(of_shard(in_groups(left, BATCH), catalogue, BATCH, (index, count)))
        owned += mine
        finished = data.draw(st.integers(0, len(mine)))
        done |= {digest for group in mine[:finished] for digest in group}
    assert sorted(owned) == sorted(digests(groups))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_of_shard_long_and_short_contents_equal_bytes(count):
    catalogue = texts([20 + number * number // 100 for number in range(50 * STEP)])
    groups = in_groups(catalogue, BATCH)
    size = [sum(content.num_bytes for content in group) for group in groups]
    loads = [
        sum(content.num_bytes for group in of_shard(groups, catalogue, BATCH, (index, count)) for content in group)
        for index in range(count)
    ]
    assert sum(loads) == sum(size)
    assert max(loads) - min(loads) <= max(size)
