"""Who is masked, who competes: on one user, six items and known scores."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.evaluation import InnerProduct
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.split import SplitConfig
from tests import reference

# Item: 0 train, 1 validation, 2 test, 3 nobody's, 4 test, 5 train by user 1 alone. Best score first.
ROWS = [(0, 0, "train"), (0, 1, "validation"), (0, 2, "test"), (0, 4, "test"), (1, 5, "train"), (1, 2, "train")]


@pytest.fixture
def dataset():
    user, item, split = zip(*ROWS, strict=True)
    return Dataset(
        items=pl.DataFrame({"item_id": [f"i{n}" for n in range(6)]}),
        users=pl.DataFrame({"user_id": ["u0", "u1"]}),
        interactions=pl.DataFrame({"user_index": user, "item_index": item, "split": split}),
        features={"text": np.ones((6, 2), dtype=np.float32)},
        present={"text": np.array([True, True, False, True, True, True])},
    )


def make_dataset(num_items, rows, num_users=None):
    """Interactions as (user, item, part), and no content."""
    user, item, split = zip(*rows, strict=True)
    return Dataset(
        items=pl.DataFrame({"item_id": [f"i{n:02}" for n in range(num_items)]}),
        users=pl.DataFrame({"user_id": [f"u{n:02}" for n in range(num_users or max(user) + 1)]}),
        interactions=pl.DataFrame(
            {"user_index": list(map(int, user)), "item_index": list(map(int, item)), "split": split}
        ),
        features={},
        present={},
    )


SCORER = InnerProduct(torch.ones(2, 1), torch.tensor([[6.0], [5.0], [4.0], [3.0], [2.0], [1.0]]))


def lists(monkeypatch, protocol, measure):
    """The ranking that a measurement was computed from."""
    found = []
    rank = protocol._rank
    monkeypatch.setattr(protocol, "_rank", lambda *arguments: found.append(rank(*arguments)) or found[-1])
    measure(SCORER)
    return [item for item in found[0].item_QK[0].tolist() if item >= 0]


def test_validation_masks_training_alone(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.validation) == [1, 2, 3, 4, 5]


def test_test_masks_training_and_validation(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.test) == [2, 3, 4, 5]


def test_paper_leaves_validation_items_in(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.paper) == [1, 2, 3, 4, 5]


def test_paper_has_the_authors_ndcg_and_the_standard_one():
    """Item n stands in place n; of the two relevant ones the first ten places hold item 2 alone."""
    rows = [(0, 0, "train"), (0, 1, "validation"), (0, 2, "test"), (0, 30, "test")]
    dataset = make_dataset(40, rows)
    scorer = InnerProduct(torch.ones(1, 1), torch.arange(40.0, 0, -1)[:, None])
    found = EvaluationProtocol(dataset, SplitConfig()).paper(scorer)
    gain = 1 / np.log2(3)
    assert found["ndcg@10"] == pytest.approx(gain)
    assert found["standard_ndcg@10"] == pytest.approx(gain / (1 + gain))
    assert found["recall@10"] == 0.5


def test_cold_only_items_without_training_compete_and_count(dataset, monkeypatch):
    """Item 2 is relevant but trained by the other user; 1 is masked; 3 and 4 compete, 4 is relevant."""
    protocol = EvaluationProtocol(dataset, SplitConfig())
    assert lists(monkeypatch, protocol, protocol.cold) == [3, 4]
    assert protocol.cold(SCORER)["recall@10"] == 1.0


def test_validation_of_whole_items_held_out_ranks_untrained_items_alone(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig(strategy="cold-items"))
    assert lists(monkeypatch, protocol, protocol.validation) == [1, 3, 4]


def test_slices_count_relevant_items_of_the_slice_with_all_competing(dataset):
    slices = EvaluationProtocol(dataset, SplitConfig()).open_contest(SCORER).slices()
    assert slices["items without text"]["users"] == 1
    assert slices["items without text"]["recall@10"] == 1.0  # item 2
    assert "cold items" not in slices  # they are `cold_open`
    assert slices["users with fewer than 10 interactions"]["users"] == 1


def test_open_contest_cold_items_count_with_all_competing(dataset):
    cold = EvaluationProtocol(dataset, SplitConfig()).open_contest(SCORER).cold()
    assert cold["ndcg@10"] == pytest.approx(1 / np.log2(4))  # item 4, third behind 2 and 3
    assert cold["users"] == 1


def test_open_contest_warm_items_count_and_new_ones_cost_them_a_place():
    """Places: item 1, nobody's, then item 2, relevant and trained by the other user, then item 3, relevant and new."""
    protocol = EvaluationProtocol(
        make_dataset(4, [(0, 0, "train"), (1, 2, "train"), (0, 2, "test"), (0, 3, "test")]), SplitConfig()
    )
    scorer = InnerProduct(torch.ones(2, 1), torch.tensor([[4.0], [3.0], [2.0], [1.0]]))
    contest = protocol.open_contest(scorer)
    assert contest.warm()["ndcg@10"] == pytest.approx(1 / np.log2(3))
    assert protocol.warm_alone(scorer)["ndcg@10"] == 1.0
    assert contest.cold()["ndcg@10"] == pytest.approx(1 / np.log2(4))
    assert contest.test()["recall@10"] == 1.0


def test_open_contest_new_items_hold_the_places_that_users_would_see():
    """One user of three is tested; of its list (2, 1, 4 of items 0 to 4) items 1 and 4 are nobody's in training."""
    rows = [(0, 0, "train"), (0, 3, "validation"), (0, 2, "test"), (1, 2, "train"), (2, 4, "validation")]
    contest = EvaluationProtocol(make_dataset(5, rows), SplitConfig()).open_contest(
        InnerProduct(torch.ones(3, 1), torch.tensor([[1.0], [4.0], [5.0], [3.0], [2.0]]))
    )
    # 3 is new, too, but the user has it in validation.
    assert contest.new_items() == {
        "items": 3.0,
        "catalogue_share": 3 / 5,
        "slot_share@20": 2 / 3,
        "users": 1.0,
    }


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), part=st.sampled_from(["cold", "warm", "test"]))
def test_open_contest_parts_equal_loops_over_users(seed, part):
    rng = np.random.default_rng(seed)
    role = rng.choice(4, size=(6, 30), p=[0.7, 0.1, 0.1, 0.1])
    rows = [(user, item, ["train", "validation", "test"][role[user, item] - 1]) for user, item in np.argwhere(role)]
    vectors = rng.normal(size=(6, 3)), rng.normal(size=(30, 3))
    scorer = InnerProduct(*map(torch.tensor, vectors))
    got = getattr(EvaluationProtocol(make_dataset(30, rows, num_users=6), SplitConfig()).open_contest(scorer), part)()
    new = set(np.flatnonzero((role != 1).all(0)))
    wanted = {"cold": new, "warm": set(range(30)) - new, "test": set(range(30))}[part]
    recalls, shown = [], set()
    for user in range(6):
        relevant = set(np.flatnonzero(role[user] == 3)) & wanted
        ranked = reference.full_ranking(
            vectors[0][user], vectors[1], set(np.flatnonzero((role[user] == 1) | (role[user] == 2)))
        )
        if relevant:
            recalls.append(reference.ranking_metrics(ranked, relevant, 10)["recall"])
            shown |= set(ranked[:10])
    if not recalls:
        assert got is None
        return
    assert got["recall@10"] == pytest.approx(np.mean(recalls))
    assert got["coverage@10"] == pytest.approx(len(shown) / 30)
    assert got["users"] == len(recalls)


def test_open_contest_ranks_once_for_all_that_is_read_off_it(dataset, monkeypatch):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    rank, calls = protocol._rank, []
    monkeypatch.setattr(protocol, "_rank", lambda *arguments: calls.append(arguments) or rank(*arguments))
    contest = protocol.open_contest(SCORER)
    assert [contest.test(), contest.cold(), contest.warm(), contest.slices(), contest.new_items()]
    assert len(calls) == 1


def test_open_contest_nothing_held_out_has_no_metrics():
    contest = EvaluationProtocol(make_dataset(2, [(0, 0, "train")]), SplitConfig()).open_contest(SCORER)
    assert [contest.test(), contest.cold(), contest.warm(), contest.new_items()] == [None] * 4
    assert contest.slices() == {}


def test_open_contest_of_some_users_is_a_fixed_draw_of_them():
    rows = [(user, user % 3, "train") for user in range(40)] + [(user, 3 + user % 2, "test") for user in range(40)]
    protocol = EvaluationProtocol(make_dataset(5, rows, num_users=40), SplitConfig())
    scorer = InnerProduct(torch.ones(40, 1), torch.arange(5.0)[:, None])
    drawn = [protocol.open_contest(scorer, most_users=7).relevant.users().tolist() for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 7
    assert drawn[0] != list(range(7))
    assert protocol.open_contest(scorer, most_users=7).test()["users"] == 7
    assert protocol.open_contest(scorer, most_users=40).test()["users"] == 40


def test_per_user_metrics_are_those_of_the_mean(dataset):
    protocol = EvaluationProtocol(dataset, SplitConfig())
    user, metrics = protocol.test_per_user(SCORER)
    assert user.tolist() == [0]
    assert metrics["recall@20"].mean().item() == protocol.test(SCORER)["recall@20"]
