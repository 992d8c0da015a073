"""Every backbone against its formula with dense float64 matrices."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.backbones import BACKBONES
from model.data import TrainingData
from model.sparse import CompressedRows
from model.user_item import UserItemGraph

ROOT = Path(__file__).resolve().parents[3]

NUM_USERS, NUM_ITEMS, DIM, NUM_LAYERS = 7, 5, 4, 3


@pytest.fixture
def data():
    """User 6 and item 4 have no interaction."""
    pairs = np.argwhere(np.random.default_rng(0).random((NUM_USERS - 1, NUM_ITEMS - 1)) < 0.5)
    user, item = (torch.from_numpy(side.copy()) for side in pairs.T)
    return TrainingData(num_users=NUM_USERS, num_items=NUM_ITEMS, user_T=user, item_T=item, features={}, present={})


def dense_adjacency(data, normalisation):
    """Symmetric: D^-1/2 A D^-1/2; row: D^-1 (A + I)."""
    size = NUM_USERS + NUM_ITEMS
    adjacency = np.zeros((size, size))
    for user, item in zip(data.user_T.tolist(), data.item_T.tolist(), strict=True):
        adjacency[user, NUM_USERS + item] = adjacency[NUM_USERS + item, user] = 1
    if normalisation == "row":
        adjacency += np.eye(size)
        return adjacency / adjacency.sum(1, keepdims=True)
    scale = np.array([1 / np.sqrt(degree) if degree else 0 for degree in adjacency.sum(1)])
    return scale[:, None] * adjacency * scale


def make(name, graph, dim, num_layers, generator):
    return BACKBONES[name](adjacency=graph, dim=dim, num_layers=num_layers, generator=generator)


def propagated(name, data, normalisation):
    generator = torch.Generator().manual_seed(0)
    adjacency = UserItemGraph(data, normalisation)
    backbone = make(name, adjacency, DIM, NUM_LAYERS, generator).eval()
    nodes = torch.randn(NUM_USERS + NUM_ITEMS, DIM, generator=generator)
    with torch.no_grad():
        got = torch.cat(backbone(nodes[:NUM_USERS], nodes[NUM_USERS:])).numpy()
    return backbone, nodes.double().numpy(), got


def test_mf_gives_the_embeddings_themselves(data):
    _, nodes, got = propagated("mf", data, "symmetric")
    np.testing.assert_allclose(got, nodes, atol=1e-7)


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
def test_lightgcn_is_the_mean_of_powers_of_the_adjacency(data, normalisation):
    _, nodes, got = propagated("lightgcn", data, normalisation)
    adjacency = dense_adjacency(data, normalisation)
    powers = [np.linalg.matrix_power(adjacency, layer) @ nodes for layer in range(NUM_LAYERS + 1)]
    np.testing.assert_allclose(got, np.mean(powers, axis=0), atol=1e-6)


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
def test_ngcf_equals_its_formula(data, normalisation):
    backbone, nodes, got = propagated("ngcf", data, normalisation)
    adjacency, layer = dense_adjacency(data, normalisation), nodes
    total = nodes.copy()
    for summed, product in zip(backbone.sum_weight, backbone.product_weight, strict=True):
        side = adjacency @ layer
        layer = sum(
            leaky_relu(value @ weights.weight.detach().double().numpy().T + weights.bias.detach().double().numpy())
            for weights, value in ((summed, side), (product, layer * side))
        )
        norm = np.linalg.norm(layer, axis=1, keepdims=True)
        total += np.divide(layer, norm, out=np.zeros_like(layer), where=norm > 0)
    np.testing.assert_allclose(got, total / (NUM_LAYERS + 1), atol=1e-5)


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_lightgcn_of_some_users_has_their_rows_and_gradient(data, normalisation, num_layers):
    generator = torch.Generator().manual_seed(0)
    adjacency = torch.from_numpy(dense_adjacency(data, normalisation))
    graph = UserItemGraph(data, normalisation)
    backbone = make("lightgcn", graph, DIM, num_layers, generator)
    user_B = torch.tensor([5, 0, 6])
    nodes = torch.randn(NUM_USERS + NUM_ITEMS, DIM, generator=generator).requires_grad_()
    powers = [torch.linalg.matrix_power(adjacency, layer) for layer in range(num_layers + 1)]
    mean = torch.stack(powers).mean(0) @ nodes.double()
    expected = torch.cat([mean[user_B], mean[NUM_USERS:]])
    got = torch.cat(backbone.of_users(*nodes.split([NUM_USERS, NUM_ITEMS]), user_B))
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-6)
    weight = torch.randn(got.shape, generator=generator)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), nodes)
    (found,) = torch.autograd.grad((got * weight).sum(), nodes)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_lightgcn_of_some_users_leaves_the_others_edges_out_of_the_last_layer(data, monkeypatch):
    """Forward and backward: two layers of T edges from either side, less what the other users have in the last."""
    backbone = make("lightgcn", UserItemGraph(data, "symmetric"), DIM, 2, torch.Generator())
    edges, product = [], CompressedRows.__matmul__
    monkeypatch.setattr(CompressedRows, "__matmul__", lambda self, dense: edges.append(self) or product(self, dense))
    sides = torch.ones(NUM_USERS, DIM, requires_grad=True), torch.ones(NUM_ITEMS, DIM, requires_grad=True)
    user_B = torch.tensor([5, 0])
    torch.cat(backbone.of_users(*sides, user_B)).sum().backward()
    own = int(torch.isin(data.user_T, user_B).sum())
    assert 0 < own < len(data.user_T)
    assert sum(len(matrix.column_E) for matrix in edges) == 2 * (3 * len(data.user_T) + own)


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_of_some_users_gives_the_rows_of_everyone(data, name):
    generator = torch.Generator().manual_seed(0)
    backbone = make(name, UserItemGraph(data, "symmetric"), DIM, NUM_LAYERS, generator).eval()
    user_UD, item_ID = torch.randn(NUM_USERS, DIM), torch.randn(NUM_ITEMS, DIM)
    user_B = torch.tensor([5, 0, 6])
    every_UD, every_ID = backbone(user_UD, item_ID)
    some_BD, some_ID = backbone.of_users(user_UD, item_ID, user_B)
    torch.testing.assert_close(some_BD, every_UD[user_B])
    torch.testing.assert_close(some_ID, every_ID)


def leaky_relu(value):
    return np.where(value > 0, value, 0.01 * value)


def test_ngcf_dropout_is_on_in_training_alone_and_from_the_given_generator(data):
    outcomes = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(1)
        backbone = make("ngcf", UserItemGraph(data, "symmetric"), DIM, 1, generator)
        nodes = torch.randn(NUM_USERS + NUM_ITEMS, DIM, generator=generator)
        outcomes.append([torch.cat(backbone(nodes[:NUM_USERS], nodes[NUM_USERS:])) for _ in range(2)])
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert not torch.equal(outcomes[0][0], outcomes[0][1])


def test_ngcf_dropout_zeroes_a_tenth_and_keeps_the_mean(data):
    """Message dropout 0.1, as in the paper; what is left is scaled by 1 / 0.9."""
    backbone = make("ngcf", UserItemGraph(data, "symmetric"), 10, 1, torch.Generator().manual_seed(1))
    messages = torch.randn(10_000, 10, generator=torch.Generator().manual_seed(2))
    dropped = backbone._dropout(messages)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], messages[kept] / 0.9)
    assert (~kept).float().mean().item() == pytest.approx(0.1, abs=0.005)  # five standard errors
    assert ((~kept).float().mean(0) - 0.1).abs().max() < 0.02


def test_ngcf_in_training_equals_its_formula_with_the_messages_dropped(data):
    """What is dropped from a layer is missing in the mean and in the next layer alike."""
    generator = torch.Generator().manual_seed(1)
    backbone = make("ngcf", UserItemGraph(data, "symmetric"), DIM, 2, generator)
    nodes = torch.randn(NUM_USERS + NUM_ITEMS, DIM, generator=generator)
    state = generator.get_state()
    with torch.no_grad():
        got = torch.cat(backbone(nodes[:NUM_USERS], nodes[NUM_USERS:]))
        generator.set_state(state)
        adjacency, layer, total = torch.from_numpy(dense_adjacency(data, "symmetric")).float(), nodes, nodes
        for summed, product in zip(backbone.sum_weight, backbone.product_weight, strict=True):
            side = adjacency @ layer
            layer = backbone._dropout(sum(map(torch.nn.functional.leaky_relu, (summed(side), product(layer * side)))))
            total = total + torch.nn.functional.normalize(layer, dim=1)
    torch.testing.assert_close(got, total / 3, rtol=0, atol=1e-6)


@pytest.fixture
def extended(tmp_path):
    """A copy of `model/` with the backbone of docs/how-to/develop.md, added as that page says."""
    shutil.copytree(ROOT / "model", tmp_path / "model", ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "how-to" / "develop.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "model" / "backbones" / "smooth.py").write_text(example)
    for file, line, added in (
        ("config.py", 'BackboneName = Literal["lightgcn", ', '"smooth", '),
        (
            "backbones/__init__.py",
            "from model.backbones.ngcf import NGCF\n",
            "from model.backbones.smooth import Smooth\n",
        ),
        ("backbones/__init__.py", '    "ngcf": NGCF,\n', '    "smooth": Smooth,\n'),
    ):
        path = tmp_path / "model" / file
        assert path.read_text().count(line) == 1
        path.write_text(path.read_text().replace(line, line + added))
    return tmp_path


TRAINED = """
from dataclasses import replace
import torch
from model.config import ModelConfig, TrainConfig
from model.data import TrainingData
from model.memory import predicted_peak
from model.micro import Micro
from model.training import Trainer

user_T, item_T = torch.tensor([0, 0, 1, 2, 3, 4]), torch.tensor([0, 1, 1, 2, 3, 0])
data = TrainingData(num_users=5, num_items=5, user_T=user_T, item_T=item_T, features={}, present={})
smooth, mf = (ModelConfig(backbone=name, embedding_dim=8) for name in ("smooth", "mf"))
config = TrainConfig(max_epochs=2, device="cpu")
trainer = Trainer(data, None, smooth, config, Micro)
first, second = (report.loss for report in trainer.fit())
assert type(trainer.model.backbone).__name__ == "Smooth"
assert second < first
many = replace(data, num_users=10**8)
held, least = (predicted_peak(many, shape, config).parts["propagation"] for shape in (smooth, mf))
assert held == 3 * least
"""


def test_backbone_in_a_new_file_is_trained_by_its_name(extended):
    subprocess.run([sys.executable, "-W", "error", "-c", TRAINED], cwd=extended, check=True)
