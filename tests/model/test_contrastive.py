import math

import pytest
import torch

from model.blocks import Block
from model.contrastive import SIMILARITIES, contrastive_loss
from model.parallel import WHOLE
from tests import reference
from tests.blocks import RecordingColumns


@pytest.fixture
def vectors():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 30, 6, generator=generator, dtype=torch.float64)


def exact(modality, fused, items, columns=WHOLE, block=SIMILARITIES):
    return contrastive_loss(modality, fused, items, items, modality.new_zeros(len(items)), 0.5, columns, block)


def test_contrastive_loss_exact_equals_triple_loop(vectors):
    items = torch.tensor([0, 3, 4, 7, 11, 29])
    expected = reference.contrastive(vectors[0].numpy(), vectors[1].numpy(), items.tolist(), 0.5)
    assert exact(vectors[0], vectors[1], items).item() == pytest.approx(expected, rel=1e-9)


ANCHORS, CANDIDATES = [0, 3, 4, 3, 11, 29], [3, 3, 7, 0, 8, 3, 20]  # 3 and 0 are both; 3 is drawn three times
LOG_COUNTS = [-0.7, -0.7, 0.4, -2.0, 0.0, -0.7, 1.1]


def sampled(modality, fused, block):
    weights = torch.tensor(LOG_COUNTS, dtype=modality.dtype)
    return contrastive_loss(modality, fused, torch.tensor(ANCHORS), torch.tensor(CANDIDATES), weights, 0.5, block=block)


def drawn(modality, fused, block):
    """As the objective draws: the same items are anchors and candidates."""
    items = torch.tensor(CANDIDATES)
    weights = torch.tensor(LOG_COUNTS, dtype=modality.dtype)
    return contrastive_loss(modality, fused, items, items, weights, 0.5, block=block)


BLOCKS = {"whole": Block(1 << 20), "fours": Block(4 * 14, few_rows=1), "single": Block(1, few_rows=1)}
"""All anchors at once, four and a rest, one by one."""


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize(("loss", "anchors"), [(sampled, ANCHORS), (drawn, CANDIDATES)])
def test_contrastive_loss_sampled_value_and_gradient_equal_triple_loop(vectors, block, loss, anchors):
    leaf = vectors.clone().requires_grad_()
    expected = reference.sampled_contrastive(leaf[0], leaf[1], anchors, CANDIDATES, LOG_COUNTS, 0.5)
    found = loss(leaf[0], leaf[1], block)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    (wanted,) = torch.autograd.grad(3 * expected, leaf)
    (got,) = torch.autograd.grad(3 * found, leaf)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)
    assert wanted[:, sorted({*anchors, *CANDIDATES})].abs().amin() > 0


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("loss", [sampled, drawn])
def test_contrastive_loss_gradient_equals_finite_differences(vectors, block, loss):
    modality, fused = (half.clone().requires_grad_() for half in vectors)
    assert torch.autograd.gradcheck(loss, (modality, fused, block))


def test_contrastive_loss_holds_few_similarities_at_once_same_value_and_gradient(vectors):
    items = torch.arange(30)
    results = []
    for elements in (1 << 20, 4 * 30):
        columns = RecordingColumns()
        leaf = vectors.clone().requires_grad_()
        loss = exact(leaf[0], leaf[1], items, columns, Block(elements, few_rows=1))
        loss.backward()
        assert max(columns.blocks) <= elements
        assert sum(columns.blocks) == 30 * 60
        results.append((loss.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


def test_contrastive_loss_sampled_denominator_is_unbiased(vectors):
    """With the logQ correction the mean of the sampled denominators is the exact one."""
    num_items, num_samples, rounds = 30, 8, 6000
    anchor = torch.tensor([5])
    generator = torch.Generator().manual_seed(0)
    everything = torch.arange(num_items)
    positive = torch.cosine_similarity(vectors[0, 5], vectors[1, 5], dim=0) / 0.5

    def denominator(candidates, log_count):
        loss = contrastive_loss(vectors[0], vectors[1], anchor, candidates, log_count, 0.5)
        return math.exp(loss.item() + positive.item())

    want = denominator(everything, torch.zeros(num_items, dtype=torch.float64))
    log_count = torch.full((num_samples,), math.log(num_samples / num_items), dtype=torch.float64)
    draws = [
        denominator(torch.randint(num_items, (num_samples,), generator=generator), log_count) for _ in range(rounds)
    ]
    assert sum(draws) / rounds == pytest.approx(want, rel=0.02)


def test_contrastive_loss_no_anchor_is_zero(vectors):
    assert exact(vectors[0], vectors[1], torch.zeros(0, dtype=torch.int64)).item() == 0
