import torch

from model.fusion import AttentionFusion


def make_fusion():
    return AttentionFusion(4, torch.Generator().manual_seed(0))


def test_attention_fusion_absent_modality_has_no_weight_and_no_influence():
    fusion, hidden = make_fusion(), torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))
    present = torch.tensor([[True, True], [True, False], [False, False]])
    fused, weight = fusion(hidden, present)
    changed = hidden.clone()
    changed[1, 1] += 100
    changed[2] += 100
    other, _ = fusion(changed, present)
    torch.testing.assert_close(fused, other)
    torch.testing.assert_close(weight.sum(1), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(fused[1], hidden[1, 0])
    assert fused[2].abs().sum() == 0


def test_attention_fusion_equals_formula():
    fusion, hidden = make_fusion(), torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(1))
    logits = [fusion.query.weight[0] @ torch.tanh(fusion.hidden.weight @ h + fusion.hidden.bias) for h in hidden[0]]
    weight = torch.softmax(torch.stack(logits), dim=0)
    fused, got = fusion(hidden, torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(got[0], weight)
    torch.testing.assert_close(fused[0], (weight[:, None] * hidden[0]).sum(0))


def test_attention_fusion_item_without_modality_has_finite_gradient():
    fusion, hidden = make_fusion(), torch.randn(2, 2, 4, requires_grad=True)
    fusion(hidden, torch.tensor([[True, True], [False, False]]))[0].square().sum().backward()
    assert torch.isfinite(hidden.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in fusion.parameters())
