import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.micro import Micro
from model.training import WARM_RATE, Trainer
from model.warm_start import carry_over
from tests.model.test_training import NUM_ITEMS, NUM_USERS, config, planted

SHAPE = ModelConfig(embedding_dim=8, neighbours=5)


def make_model(seed):
    data, _, _ = planted()
    return data, Micro(data, SHAPE, torch.Generator().manual_seed(seed))


def test_carry_over_permuted_ids_take_their_own_rows_and_the_model_stays():
    _, earlier = make_model(0)
    _, fresh = make_model(1)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    user_U, item_I = (torch.randperm(size, generator=torch.Generator().manual_seed(2)) for size in (60, 80))
    carried = carry_over(fresh, earlier.state_dict(), user_U, item_I)
    for place, was in enumerate(user_U.tolist()):
        assert torch.equal(carried["user_embedding_UD"][place], earlier.user_embedding_UD[was])
    for place, was in enumerate(item_I.tolist()):
        assert torch.equal(carried["item_embedding_ID"][place], earlier.item_embedding_ID[was])
    others = set(carried) - {"user_embedding_UD", "item_embedding_ID"}
    assert len(others) > 4
    assert all(torch.equal(carried[name], earlier.state_dict()[name]) for name in others)
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def test_carry_over_new_items_equal_naive_mean_of_known_neighbours():
    data, earlier = make_model(0)
    _, fresh = make_model(1)
    item_I = torch.arange(NUM_ITEMS)
    new = [0, 4, 8, 17, 33, 79]  # 0, 4 and 8 are of one family: neighbours of each other
    item_I[new] = -1
    carried = carry_over(fresh, earlier.state_dict(), torch.arange(NUM_USERS), item_I)
    carried = carried["item_embedding_ID"]
    embedding = earlier.item_embedding_ID.detach().double().numpy()
    for item in new:
        total, weight = np.zeros(8), 0.0
        for name, features in data.features.items():
            if not data.present[name][item]:
                continue
            similarity = torch.cosine_similarity(features.double(), features[item].double()[None])
            others = [other for other in range(NUM_ITEMS) if data.present[name][other] and other != item]
            nearest = sorted(others, key=lambda other: -float(similarity[other]))[: SHAPE.neighbours - 1]
            for other in nearest:
                if other not in new and similarity[other] > 0:
                    total += float(similarity[other]) * embedding[other]
                    weight += float(similarity[other])
        np.testing.assert_allclose(carried[item].numpy(), total / weight, atol=1e-6)


def test_carry_over_new_user_begins_at_what_the_items_bring_and_one_without_any_at_random():
    data, earlier = make_model(0)
    lacking = data.user_T != 9
    data = dataclasses.replace(data, user_T=data.user_T[lacking], item_T=data.item_T[lacking])
    fresh = Micro(data, SHAPE, torch.Generator().manual_seed(1))
    user_U = torch.arange(NUM_USERS)
    user_U[[7, 9]] = -1
    carried = carry_over(fresh, earlier.state_dict(), user_U, torch.arange(NUM_ITEMS))
    assert not carried["user_embedding_UD"][7].any()
    assert torch.equal(carried["user_embedding_UD"][9], fresh.user_embedding_UD[9])
    fresh.load_state_dict(fresh.state_dict() | carried)
    assert fresh.eval()().user_UD[7].any()


def test_carry_over_new_item_without_content_keeps_the_fresh_start():
    data, earlier = make_model(0)
    _, fresh = make_model(1)
    bare = next(item for item in range(NUM_ITEMS) if not any(present[item] for present in data.present.values()))
    user_U, item_I = torch.arange(NUM_USERS), torch.arange(NUM_ITEMS)
    item_I[bare] = -1
    carried = carry_over(fresh, earlier.state_dict(), user_U, item_I)
    assert torch.equal(carried["item_embedding_ID"][bare], fresh.item_embedding_ID[bare])


def test_carry_over_nobody_known_is_the_fresh_start_but_for_shared_parameters():
    _, earlier = make_model(0)
    _, fresh = make_model(1)
    nobody = (torch.full((size,), -1) for size in (NUM_USERS, NUM_ITEMS))
    carried = carry_over(fresh, earlier.state_dict(), *nobody)
    assert not carried["user_embedding_UD"].any()
    assert torch.equal(carried["item_embedding_ID"], fresh.item_embedding_ID)


def test_start_from_is_what_training_must_beat_and_survives_a_checkpoint():
    data, held_out, _ = planted()
    earlier = Trainer(data, held_out, SHAPE, config(), Micro)
    list(earlier.fit())
    warm = Trainer(data, held_out, SHAPE, config(seed=1, patience=2), Micro)
    metric = warm.start_from(earlier.best_parameters())
    assert metric == pytest.approx(earlier.best_metric)
    resumed = Trainer(data, held_out, SHAPE, config(seed=1, patience=2), Micro)
    resumed.load_state(warm.state())
    for trainer in (warm, resumed):
        list(trainer.fit())
        assert trainer.best_metric >= metric
    assert all(torch.equal(value, resumed.best_parameters()[name]) for name, value in warm.best_parameters().items())


def test_start_from_is_kept_where_no_epoch_is_better():
    data, held_out, _ = planted()
    earlier = Trainer(data, held_out, SHAPE, config(patience=2), Micro)
    list(earlier.fit())
    warm = Trainer(data, held_out, SHAPE, config(seed=1, patience=1), Micro)
    warm.start_from(earlier.best_parameters(), rate_factor=1e3)  # steps that lead away
    list(warm.fit())
    assert warm.best_epoch == 0
    assert all(torch.equal(value, earlier.best_parameters()[name]) for name, value in warm.best_parameters().items())


def test_start_from_steps_are_small_also_after_a_checkpoint_and_a_cold_training_has_whole_ones():
    data, held_out, _ = planted()
    cold, warm, resumed = (Trainer(data, held_out, SHAPE, config(), Micro) for _ in range(3))
    warm.start_from(cold.best_parameters())
    resumed.load_state(warm.state())
    rates = [next(trainer.fit()).learning_rate for trainer in (cold, warm, resumed)]
    assert rates == [config().learning_rate, *[pytest.approx(WARM_RATE * config().learning_rate)] * 2]


def test_start_from_chain_on_the_same_data_keeps_its_neighbours():
    """Ten nights on unchanged data, each beginning at the one before with draws of its own."""
    data, held_out, _ = planted()
    trainer = Trainer(data, held_out, SHAPE, config(patience=2), Micro)
    list(trainer.fit())
    everybody = torch.arange(NUM_USERS), torch.arange(NUM_ITEMS)
    lists, metrics = [neighbours_of(trainer)], [trainer.best_metric]
    for night in range(1, 11):
        earlier = trainer.best_parameters()
        trainer = Trainer(data, held_out, SHAPE, config(patience=2, seed=night), Micro)
        trainer.start_from(carry_over(trainer.model, earlier, *everybody))
        list(trainer.fit())
        lists.append(neighbours_of(trainer))
        metrics.append(trainer.best_metric)
    kept = [(then[:, :, None] == now[:, None, :]).any(2).float().mean() for then, now in pairwise(lists)]
    assert min(kept[1:]) >= 0.95, kept
    assert metrics == sorted(metrics)


def neighbours_of(trainer):
    """The 20 nearest of every item by cosine, itself among them."""
    unit_ID = torch.nn.functional.normalize(trainer.best_vectors().item_ID, dim=1)
    return (unit_ID @ unit_ID.T).topk(21, dim=1).indices
