"""The item graphs' convolutions and their fusion, against dense float64 matrices."""

import pytest
import torch

from tests import reference
from tests.model.test_training import make_model

K, INITIAL_WEIGHT = 5, 0.7  # `make_model` has 5 neighbours


def item_graphs(data, model):
    """Dense A_m of every modality, by the model's current parameters."""
    graphs = []
    for name in model.modality_names:
        projection = model.item_graphs[name].projection
        features, weight, bias = (
            value.detach().double() for value in (data.features[name], projection.weight, projection.bias)
        )
        graphs.append(reference.item_graph(features, data.present[name], K, weight, bias, INITIAL_WEIGHT))
    return graphs


def model_and_graphs(fusion, num_layers):
    data, model = make_model(fusion=fusion, item_graph_layers=num_layers, initial_graph_weight=INITIAL_WEIGHT)
    return model, item_graphs(data, model), model.item_embedding_ID.detach().double()


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_micro_graph_fusion_is_lattice_convolution_of_the_mixed_graph(num_layers):
    """LATTICE (arXiv:2104.09036), equations 7 to 9: the graphs are mixed, then convolved."""
    model, graphs, hidden = model_and_graphs("graph", num_layers)
    with torch.no_grad():
        model.fusion.logit_M.copy_(torch.tensor([0.8, -0.4]))
        found = model().fused_ID
    share = torch.softmax(model.fusion.logit_M.detach().double(), 0) * model.present_IM
    share = share / share.sum(1, keepdim=True).clamp(min=1e-12)  # of the modalities that the item has
    mixed = sum(share[:, index, None] * graph for index, graph in enumerate(graphs))
    for _ in range(num_layers):
        hidden = mixed @ hidden
    torch.testing.assert_close(found.double(), hidden, rtol=0, atol=1e-6)
    assert hidden.abs().amax() > 0.03


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_micro_attention_convolves_each_modality_over_its_own_graph_and_mixes_the_last_layer(num_layers):
    model, graphs, hidden = model_and_graphs("attention", num_layers)
    with torch.no_grad():
        found = model()
    expected = torch.stack([torch.linalg.matrix_power(graph, num_layers) @ hidden for graph in graphs], dim=1)
    torch.testing.assert_close(found.modality_IMD.double(), expected, rtol=0, atol=1e-6)
    attention = model.fusion.double()
    logit = attention.query(torch.tanh(attention.hidden(expected))).squeeze(2).masked_fill(~model.present_IM, -100)
    share = torch.softmax(logit, 1) * model.present_IM
    fused = (share[:, :, None] * expected).sum(1)
    torch.testing.assert_close(found.fused_ID.double(), fused.detach(), rtol=0, atol=1e-6)
    assert expected.abs().amax() > 0.03
