from collections import Counter

import pytest
import torch

from model.sampling import TripleSampler, UserSampler

USER = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2])
ITEM = torch.tensor([1, 4, 5, 2, 1, 2, 4, 5, 7])
TRAINED = {1, 2, 4, 5, 7}


@pytest.fixture
def sampler():
    return TripleSampler(USER, ITEM, 4, 9)


def test_unseen_items_many_draws_uniform_over_unseen_trained_items(sampler):
    generator = torch.Generator().manual_seed(0)
    for user, seen in ((0, {1, 4, 5}), (1, {2}), (3, set())):
        draws = Counter(sampler.unseen_items(torch.full((20_000,), user), generator).tolist())
        allowed = TRAINED - seen
        assert set(draws) == allowed
        for count in draws.values():
            assert count == pytest.approx(20_000 / len(allowed), rel=0.06)


def test_epoch_every_pair_once_but_users_who_saw_everything(sampler):
    batches = list(sampler.epoch(3, torch.Generator().manual_seed(0)))
    pairs = [
        pair
        for batch in batches
        for pair in zip(batch.user_B[batch.row_P].tolist(), batch.seen_P.tolist(), strict=True)
    ]
    assert sorted(pairs) == [(0, 1), (0, 4), (0, 5), (1, 2)]
    assert len(batches) == sampler.num_batches(3) == 2


def test_epoch_unseen_items_never_seen_on_random_data():
    generator = torch.Generator().manual_seed(5)
    key = torch.randperm(50 * 40, generator=generator)[:900]
    user, item = key // 40, key % 40
    seen = set(zip(user.tolist(), item.tolist(), strict=True))
    sampler = TripleSampler(user, item, 50, 40)
    for _ in range(20):
        for batch in sampler.epoch(128, generator):
            assert not seen & set(zip(batch.user_B[batch.row_P].tolist(), batch.unseen_P.tolist(), strict=True))


def test_sampler_everybody_has_everything_is_refused():
    with pytest.raises(ValueError, match="every user in training has all of the 2 items"):
        TripleSampler(torch.tensor([0, 0, 1, 1]), torch.tensor([3, 5, 3, 5]), 2, 9)


def test_user_sampler_epoch_gives_every_interaction_once_with_its_user():
    sampler, generator = UserSampler(USER, ITEM, 4), torch.Generator().manual_seed(0)
    for _ in range(10):
        batches = list(sampler.epoch(4, generator))
        assert len(batches) <= sampler.num_batches(4) == 2
        pairs = [
            pair
            for batch in batches
            for pair in zip(batch.user_B[batch.row_P].tolist(), batch.item_P.tolist(), strict=True)
        ]
        assert sorted(pairs) == sorted(zip(USER.tolist(), ITEM.tolist(), strict=True))
        assert sorted(user for batch in batches for user in batch.user_B.tolist()) == [0, 1, 2]


def test_user_sampler_batches_hold_about_as_many_interactions_as_asked():
    generator = torch.Generator().manual_seed(1)
    user = torch.randint(300, (6000,), generator=generator)
    sampler = UserSampler(user, torch.zeros_like(user), 300)
    sizes = [len(batch.item_P) for batch in sampler.epoch(500, generator)]
    assert len(sizes) == 12
    assert all(abs(size - 500) <= 2 * torch.bincount(user).max() for size in sizes)
