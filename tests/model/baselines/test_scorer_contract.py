"""What every scorer must keep to (`model.evaluation.Scorer`), whatever it was fitted by.

A new scorer is a class of three lines at the end. `IndexFreeContract` is for those whose scores do not depend on which
index a user or an item has; what begins with random factors, or draws by index, keeps to `ScorerContract` alone.
Shapes: U users, I items, B users asked for, D dimension.
"""

import copy
import dataclasses
from importlib import import_module

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.baselines.chance import chance
from model.baselines.cosines import summed_cosines
from model.baselines.ease import ease
from model.baselines.neighbours import content_knn, item_knn, whitened_knn
from model.baselines.popularity import popularity
from model.baselines.taste import content_taste
from model.baselines.vbpr import Vbpr
from model.config import ModelConfig, TrainConfig
from model.data import TrainingData
from model.evaluation import InnerProduct, Pairs, rank_items
from model.micro import Micro
from model.training import Trainer

implicit_models = import_module("pipeline.experiments.compare.implicit_models")

NUM_USERS, NUM_ITEMS = 61, 12
COLD_USER, UNTOUCHED_ITEM, ITEM_WITHOUT_TEXT = NUM_USERS - 1, NUM_ITEMS - 1, 2


def make_data():
    """No two items have the same similarity to a third: which of them a neighbour is would depend on the order."""
    generator = torch.Generator().manual_seed(339)
    chosen_UI = torch.rand(NUM_USERS, NUM_ITEMS, generator=generator) < 0.4
    chosen_UI[COLD_USER], chosen_UI[:, UNTOUCHED_ITEM] = False, False
    user_T, item_T = chosen_UI.nonzero().T.contiguous()
    return TrainingData(
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        user_T=user_T,
        item_T=item_T,
        features={"text": torch.randn(NUM_ITEMS, 5, generator=generator)},
        present={"text": torch.arange(NUM_ITEMS) != ITEM_WITHOUT_TEXT},
    )


def tensors(data):
    parts = {"user_T": data.user_T, "item_T": data.item_T}
    parts |= {f"features.{name}": feature_ID for name, feature_ID in data.features.items()}
    return parts | {f"present.{name}": present_I for name, present_I in data.present.items()}


EVERYONE = torch.arange(NUM_USERS)
# One method runs for many classes. An example that failed for one of them may be tried on another: it does no harm.
EXAMPLES = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


class ScorerContract:
    """Holds for every scorer."""

    @staticmethod
    def fit(data, seed):
        """Return the scorer."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls):
        """The scorer and the data that it was fitted to; `data` is a copy made before."""
        data = make_data()
        before = copy.deepcopy(data)
        return cls.fit(data, seed=3), data, before

    @pytest.fixture(scope="class")
    @classmethod
    def scorer(cls, fitted):
        return fitted[0]

    def test_scores_are_a_float_for_every_user_and_item(self, scorer):
        score_UI = scorer.scores(EVERYONE)
        assert score_UI.shape == (NUM_USERS, NUM_ITEMS)
        assert score_UI.is_floating_point()
        assert (torch.isfinite(score_UI) | (score_UI == -torch.inf)).all()

    def test_num_items_is_that_of_the_data(self, scorer):
        assert scorer.num_items == NUM_ITEMS

    def test_scores_written_over_later_scores_unchanged(self, scorer):
        first_UI = scorer.scores(EVERYONE)
        kept_UI = first_UI.clone()
        first_UI.fill_(-torch.inf)
        assert torch.equal(scorer.scores(EVERYONE), kept_UI)

    @EXAMPLES
    @given(users=st.lists(st.integers(0, NUM_USERS - 1), min_size=1, max_size=2 * NUM_USERS))
    def test_scores_any_order_and_repeated_users_same_rows(self, scorer, users):
        user_B = torch.tensor(users)
        torch.testing.assert_close(scorer.scores(user_B), scorer.scores(EVERYONE)[user_B])

    def test_scores_one_user_at_a_time_equal_all_at_once(self, scorer):
        one_by_one_UI = torch.cat([scorer.scores(user_1) for user_1 in EVERYONE.split(1)])
        torch.testing.assert_close(one_by_one_UI, scorer.scores(EVERYONE))

    def test_scores_users_asked_for_are_not_modified(self, scorer):
        user_B = EVERYONE.flip(0)
        scorer.scores(user_B)
        assert torch.equal(user_B, EVERYONE.flip(0))

    def test_fit_same_data_and_seed_same_scores(self, fitted):
        scorer, _, before = fitted
        assert torch.equal(self.fit(before, seed=3).scores(EVERYONE), scorer.scores(EVERYONE))

    def test_fit_and_scores_leave_the_data_as_it_was(self, fitted):
        scorer, data, _ = fitted
        scorer.scores(EVERYONE)
        expected = tensors(make_data())
        assert tensors(data).keys() == expected.keys()
        for name, value in tensors(data).items():
            assert torch.equal(value, expected[name]), name

    def test_rank_items_user_without_interactions_gets_every_item(self, scorer):
        ranking = rank_items(scorer, torch.tensor([COLD_USER]), [], NUM_ITEMS)
        assert sorted(ranking.item_QK[0].tolist()) == list(range(NUM_ITEMS))

    def test_rank_items_untouched_item_is_ranked_for_everyone(self, scorer, fitted):
        data = fitted[1]
        seen = Pairs(data.user_T, data.item_T, NUM_USERS, NUM_ITEMS)
        ranking = rank_items(scorer, EVERYONE, [seen], NUM_ITEMS)
        assert (ranking.item_QK == UNTOUCHED_ITEM).any(1).all()


class IndexFreeContract(ScorerContract):
    """Holds where users and items are known by their interactions and contents alone."""

    @EXAMPLES
    @given(order=st.permutations(range(NUM_ITEMS)))
    def test_fit_permuted_items_permuted_scores(self, fitted, order):
        scorer, data, _ = fitted
        order_I = torch.tensor(order)  # the item that stands at each place now
        permuted = dataclasses.replace(
            data,
            item_T=order_I.argsort()[data.item_T],
            features={name: feature_ID[order_I] for name, feature_ID in data.features.items()},
            present={name: present_I[order_I] for name, present_I in data.present.items()},
        )
        score_UI = self.fit(permuted, seed=3).scores(EVERYONE)
        torch.testing.assert_close(score_UI, scorer.scores(EVERYONE)[:, order_I], rtol=1e-4, atol=1e-5)

    @EXAMPLES
    @given(order=st.permutations(range(NUM_USERS)))
    def test_fit_permuted_users_permuted_scores(self, fitted, order):
        scorer, data, _ = fitted
        order_U = torch.tensor(order)
        permuted = dataclasses.replace(data, user_T=order_U.argsort()[data.user_T])
        score_UI = self.fit(permuted, seed=3).scores(EVERYONE)
        torch.testing.assert_close(score_UI, scorer.scores(EVERYONE)[order_U], rtol=1e-4, atol=1e-5)

    @EXAMPLES
    @given(seed=st.integers(0, 10_000))
    def test_fit_interactions_in_another_order_same_scores(self, fitted, seed):
        scorer, data, _ = fitted
        order_T = torch.randperm(len(data.user_T), generator=torch.Generator().manual_seed(seed))
        shuffled = dataclasses.replace(data, user_T=data.user_T[order_T], item_T=data.item_T[order_T])
        score_UI = self.fit(shuffled, seed=3).scores(EVERYONE)
        torch.testing.assert_close(score_UI, scorer.scores(EVERYONE), rtol=1e-4, atol=1e-5)


class TestPopularity(IndexFreeContract):
    @staticmethod
    def fit(data, seed):
        return popularity(data)


class TestEase(IndexFreeContract):
    @staticmethod
    def fit(data, seed):
        return ease(data, l2=2.5)


class TestItemKnn(IndexFreeContract):
    @staticmethod
    def fit(data, seed):
        return item_knn(data, num_neighbours=3)


class TestContentKnn(IndexFreeContract):
    @staticmethod
    def fit(data, seed):
        return content_knn(data, "text", num_neighbours=3)


class TestSummedCosines(IndexFreeContract):
    @staticmethod
    def fit(data, seed):
        return summed_cosines(data, "text")


class TestWhitenedKnn(IndexFreeContract):
    @staticmethod
    def fit(data, seed):
        return whitened_knn(data, {"text": 1.0}, num_neighbours=3, power=0.25, dimensions=4)


class TestContentTaste(IndexFreeContract):
    @staticmethod
    def fit(data, seed):
        return content_taste(data, {"text": 1.0}, power=0.25, dimensions=4)


class TestChance(ScorerContract):
    @staticmethod
    def fit(data, seed):
        return chance(data, seed)


class TestInnerProduct(ScorerContract):
    @staticmethod
    def fit(data, seed):
        generator = torch.Generator().manual_seed(seed)
        return InnerProduct(*(torch.randn(rows, 4, generator=generator) for rows in (data.num_users, data.num_items)))


class TestImplicitAls(ScorerContract):
    @staticmethod
    def fit(data, seed):
        return implicit_models.als(data, seed, factors=4, alpha=10.0, regularization=20.0)


class TestImplicitBpr(ScorerContract):
    @staticmethod
    def fit(data, seed):
        return implicit_models.bpr(data, seed, factors=4, learning_rate=0.01, regularization=0.01, iterations=5)


def trained(model_type, data, seed):
    """Vectors after two epochs of several steps each."""
    config = TrainConfig(device="cpu", seed=seed, max_epochs=2, batch_size=64)
    trainer = Trainer(data, None, ModelConfig(embedding_dim=6, neighbours=3), config, model_type)
    assert len(list(trainer.fit())) == 2
    vectors = trainer.best_vectors()
    return InnerProduct(vectors.user_UD, vectors.item_ID)


class TestMicro(ScorerContract):
    @staticmethod
    def fit(data, seed):
        return trained(Micro, data, seed)


class TestVbpr(ScorerContract):
    @staticmethod
    def fit(data, seed):
        return trained(Vbpr, data, seed)
