import pytest
import torch

from model.config import ModelConfig, ObjectiveConfig, starting_weights
from model.gather import gather_rows, runs
from model.micro import Micro
from model.objective import objective
from model.ranking import make_ranking_loss
from tests.model.test_training import planted


@pytest.mark.parametrize("shape", [(300,), (300, 16)])
def test_gather_rows_equals_indexing_and_its_gradient(shape):
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    index = torch.randint(300, (40, 7), generator=generator)
    weight = torch.randn(40, 7, *shape[1:], generator=generator, dtype=torch.float64)
    gathered = gather_rows(source, index)
    assert torch.equal(gathered, source[index])
    (gradient,) = torch.autograd.grad((gathered * weight).sum(), source)
    (expected,) = torch.autograd.grad((source[index] * weight).sum(), source)
    torch.testing.assert_close(gradient, expected)


def test_gather_rows_gradient_repeats_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(500, 64, generator=generator, requires_grad=True)
    index = torch.randint(500, (8192,), generator=generator)
    weight = torch.randn(8192, 64, generator=generator)
    gradients = [torch.autograd.grad((gather_rows(source, index) * weight).sum(), source)[0] for _ in range(50)]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


@pytest.mark.parametrize("backbone", ["mf", "lightgcn", "ngcf"])
@pytest.mark.parametrize("contrastive", ["exact", "sampled"])
@pytest.mark.parametrize("ranking", ["softmax", "squares", "bpr"])
@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
def test_objective_no_gradient_is_summed_in_an_arbitrary_order(backbone, contrastive, ranking, normalisation):
    """Plain indexing under autograd is what must not come back: its gradient differs from run to run."""
    data, _, _ = planted()
    generator = torch.Generator().manual_seed(0)
    model = Micro(data, ModelConfig(backbone=backbone, normalisation=normalisation, embedding_dim=8), generator)
    config = ObjectiveConfig(ranking=ranking, softmax_candidates=30, contrastive=contrastive, contrastive_samples=16)
    ranking_loss = make_ranking_loss(data, config)
    batch = next(iter(ranking_loss.batches(64, generator)))
    vectors, weights = model(structure_gradient=True), starting_weights(model.config, config)
    loss = objective(vectors, model.modality_items, ranking_loss, batch, config, weights, generator).total
    names = {node.name() for node in graph_nodes(loss.grad_fn)}
    assert "EmbeddingBackward0" in names
    assert not {name for name in names if name.startswith(("IndexBackward", "IndexPut", "Scatter"))}


def graph_nodes(root):
    found, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [following for following, _ in node.next_functions]
    return found


@pytest.mark.parametrize("total", [None, 5])
def test_runs_are_the_ranges_one_after_the_other(total):
    found = runs(torch.tensor([7, 3, 0, 3]), torch.tensor([2, 0, 1, 2]), total)
    assert found.tolist() == [7, 8, 0, 3, 4]
