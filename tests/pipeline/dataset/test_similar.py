"""Neighbours with a known answer: planted kinds, planted purchases."""

import pytest
import torch

import pipeline.dataset.similar
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.similar import WORK, SimilarItems, affordable
from pipeline.dataset.split import SplitConfig
from tests.pipeline.dataset.test_protocol import make_dataset

NUM_KINDS, OF_EACH = 4, 15
NUM_ITEMS = NUM_KINDS * OF_EACH
KIND = torch.arange(NUM_ITEMS) % NUM_KINDS
ALL = torch.ones(NUM_ITEMS, dtype=torch.bool)


def vectors(own):
    """Each kind has a direction of its own, of which an item has so much beside noise."""
    noise = torch.randn(NUM_ITEMS, 16, generator=torch.Generator().manual_seed(0))
    noise[:, :NUM_KINDS] *= 0.1
    return noise + own * torch.eye(16)[KIND]


def protocol_of(rows, num_items=NUM_ITEMS):
    return EvaluationProtocol(make_dataset(num_items, rows), SplitConfig())


def test_measure_planted_kinds_are_found_by_vectors_that_know_them():
    similar = SimilarItems(protocol_of([(0, 0, "train")]), KIND)
    knows, guesses = (similar.measure(vectors(own), ALL)["same_kind@10"] for own in (100.0, 0.0))
    assert knows == 1.0
    assert guesses == pytest.approx((OF_EACH - 1) / (NUM_ITEMS - 1), abs=0.05)


def test_measure_held_out_purchases_are_found_among_neighbours():
    """Item n is followed by item n + 10; both are bought in training by the other user. Item 59 is new."""
    bought = [(0, item, "train") for item in range(5)] + [(1, item, "train") for item in range(59)]
    later = [(0, item, "test") for item in range(10, 13)] + [(0, 59, "test")]
    similar = SimilarItems(protocol_of(bought + later), None)
    near = torch.zeros(NUM_ITEMS, 64)
    near[torch.arange(NUM_ITEMS), torch.arange(NUM_ITEMS)] = 1.0
    near[10:13] = near[0:3] + 0.1 * near[10:13]  # each of three bought ones has its own later one beside it
    near[0:3, 60] = near[10:13, 60] = 1.0  # and these six are each other's next
    near[3:10, 61] = near[13:30, 61] = 1.0  # while 3 and 4 have others
    found = similar.measure(near, ALL)
    assert found["pairs"] == 15  # five bought, three later; the new one is no pair
    assert found["co_purchases@10"] == pytest.approx(9 / 15)
    assert "same_kind@10" not in found


def test_measure_items_without_the_modality_find_nothing():
    rows = [(0, 0, "train"), (0, 1, "test"), (1, 1, "train")]
    similar = SimilarItems(protocol_of(rows, num_items=3), torch.tensor([0, 0, 0]))
    whole = similar.measure(torch.eye(3) + 1, torch.tensor([True, True, True]))
    assert (whole["co_purchases@10"], whole["same_kind@10"]) == (1.0, 1.0)
    lacking = similar.measure(torch.eye(3) + 1, torch.tensor([False, True, True]))
    assert lacking["co_purchases@10"] == 0.0


def test_similar_items_sample_is_fixed_and_its_pairs_begin_in_it():
    rows = [(user, item, "train") for user in range(3) for item in range(user, 50)]
    rows += [(user, 50 + user, "test") for user in range(3)] + [(3, item, "train") for item in range(60)]
    protocol = protocol_of(rows)
    first, second = (SimilarItems(protocol, KIND, most_anchors=12) for _ in range(2))
    assert torch.equal(first.anchor_A, second.anchor_A)
    assert len(first.anchor_A) == 12
    assert first.anchor_A.tolist() == sorted(first.anchor_A.tolist())
    assert first.anchor_A.tolist() != list(range(12))
    assert len(first.first_P) > 12
    assert set(first.first_P.tolist()) <= set(first.anchor_A.tolist())
    whole = SimilarItems(protocol, KIND).measure(vectors(0.5), ALL)
    part = first.measure(vectors(0.5), ALL)
    assert part["items"] == 12
    assert part["same_kind@10"] == pytest.approx(whole["same_kind@10"], abs=0.15)


def test_similar_items_pairs_are_bounded(monkeypatch):
    monkeypatch.setattr(pipeline.dataset.similar, "MOST_PAIRS", 20)
    rows = [(0, item, "train") for item in range(30)] + [(0, item, "test") for item in range(30, 60)]
    similar = SimilarItems(protocol_of([*rows, *((1, item, "train") for item in range(60))]), None)
    assert len(similar.first_P) == 20
    assert similar.measure(vectors(0.5), ALL)["pairs"] == 20


def test_affordable_rows_against_every_item_stay_within_the_work():
    assert affordable(1_000_000, 1280) * 1_000_000 * 1280 <= WORK
    assert affordable(9_907, 1280) > 27_681  # a shop of this size is measured whole
    assert affordable(0, 0) > 0
    assert affordable(10**12, 10**4) == 1


def test_measure_nothing_held_out_and_no_kind_known_has_counts_only():
    similar = SimilarItems(protocol_of([(0, 0, "train")], num_items=3), torch.tensor([-1, -1, -1]))
    assert similar.measure(torch.eye(3), torch.ones(3, dtype=torch.bool)) == {"items": 3.0, "pairs": 0.0}
