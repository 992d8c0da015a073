import pytest
import torch

from model.fusion import FUSIONS


def make(name, num_modalities=2):
    return FUSIONS[name](num_modalities, 4, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion_absent_modality_has_no_weight_and_no_influence(name):
    fusion, hidden = make(name), torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))
    present = torch.tensor([[True, True], [True, False], [False, False]])
    fused, weight = fusion(hidden, present)
    changed = hidden.clone()
    changed[1, 1] += 100
    changed[2] += 100
    other, _ = fusion(changed, present)
    torch.testing.assert_close(fused, other)
    torch.testing.assert_close(weight.sum(1), torch.tensor([1.0, 1.0, 0.0]))
    assert weight[1, 1] == 0
    assert fused[2].abs().sum() == 0
    if name != "concat":
        torch.testing.assert_close(fused[1], hidden[1, 0])


def test_attention_fusion_equals_formula():
    fusion, hidden = make("attention"), torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(1))
    logits = [fusion.query.weight[0] @ torch.tanh(fusion.hidden.weight @ h + fusion.hidden.bias) for h in hidden[0]]
    weight = torch.softmax(torch.stack(logits), dim=0)
    fused, got = fusion(hidden, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(got[0], weight)
    torch.testing.assert_close(fused[0], (weight[:, None] * hidden[0]).sum(0))


def test_concat_fusion_is_a_linear_map_of_all_modalities():
    fusion, hidden = make("concat"), torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(1))
    fused, _ = fusion(hidden, torch.ones(5, 2, dtype=torch.bool))
    merged = torch.cat([hidden[:, 0], hidden[:, 1]], dim=1) @ fusion.merge.weight.T + fusion.merge.bias
    torch.testing.assert_close(fused, merged)


def test_graph_fusion_weights_are_the_same_for_all_items_with_both():
    fusion = make("graph")
    with torch.no_grad():
        fusion.logit_M.copy_(torch.tensor([1.0, -1.0]))
    _, weight = fusion(torch.randn(6, 2, 4), torch.ones(6, 2, dtype=torch.bool))
    torch.testing.assert_close(weight, torch.softmax(torch.tensor([1.0, -1.0]), dim=0).expand(6, 2))


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion_item_without_modality_has_finite_gradient(name):
    fusion, hidden = make(name), torch.randn(2, 2, 4, requires_grad=True)
    fusion(hidden, torch.tensor([[True, True], [False, False]]))[0].square().sum().backward()
    assert torch.isfinite(hidden.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in fusion.parameters())
