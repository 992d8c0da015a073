import copy
import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import torch

from model.approximate import Cells
from model.config import ModelConfig, ObjectiveConfig, TrainConfig, starting_weights
from model.data import HeldOut, TrainingData, resolve_device
from model.divergence import DivergedError
from model.graph import Search, nearest_neighbours
from model.micro import Micro
from model.objective import objective
from model.ranking import make_ranking_loss
from model.structure import ItemGraph
from model.training import Trainer
from tests import reference

NUM_USERS, NUM_ITEMS, NUM_FAMILIES = 60, 80, 4


def planted(seed=0):
    """Users like one family; features show the family through noise; items 70.. were never touched."""
    rng = np.random.default_rng(seed)
    family = np.arange(NUM_ITEMS) % NUM_FAMILIES
    pairs, held = [], []
    for user in range(NUM_USERS):
        liked = np.flatnonzero((family == user % NUM_FAMILIES) & (np.arange(NUM_ITEMS) < 70))
        chosen = rng.choice(liked, 8, replace=False)
        pairs += [(user, item) for item in chosen[:6]]
        held += [(user, item) for item in chosen[6:]]
    centre = rng.normal(size=(NUM_FAMILIES, 12))
    features = {name: centre[family] + 0.3 * rng.normal(size=(NUM_ITEMS, 12)) for name in ("image", "text")}
    present = {name: torch.from_numpy(rng.random(NUM_ITEMS) < 0.9) for name in features}
    user, item = (torch.tensor(side) for side in zip(*pairs, strict=True))
    data = TrainingData(
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        user_T=user,
        item_T=item,
        features={name: torch.tensor(values, dtype=torch.float32) for name, values in features.items()},
        present=present,
    )
    held_user, held_item = (torch.tensor(side) for side in zip(*held, strict=True))
    return data, HeldOut(user_P=held_user, item_P=held_item), family


def config(**changes):
    return TrainConfig(device="cpu", max_epochs=30, batch_size=64, learning_rate=0.01, **changes)


FIXED = {"l2": 2.3, "contrastive_weight": 0.003}
"""Weights that training has not to find, beside `SHAPE`'s."""
SHAPE = ModelConfig(embedding_dim=8, content_weight=0.4)
COARSE = Search(cells=Cells(probes=1, training_rows=8))
"""An approximate search that misses much, in so few items: what is followed differs from what is searched anew."""
COARSE_MICRO = partial(Micro, search=COARSE)


def losses(trainer):
    return [report.loss for report in trainer.fit()]


@torch.no_grad()
def test_micro_absent_mean_is_the_model_of_data_filled_with_means():
    data, _, _ = planted()
    features = {name: feature_ID.clone() for name, feature_ID in data.features.items()}
    for name, present_I in data.present.items():
        for item in (~present_I).nonzero().squeeze(1):
            features[name][item] = features[name][present_I].mean(0)
    everything = {name: torch.ones_like(present_I) for name, present_I in data.present.items()}
    by_hand = dataclasses.replace(data, features=features, present=everything)
    shape = ModelConfig(embedding_dim=8)
    filled, expected, left_out = (
        Micro(one, config, torch.Generator().manual_seed(0)).eval()()
        for one, config in (
            (data, dataclasses.replace(shape, absent="mean")),
            (by_hand, shape),
            (data, shape),
        )
    )
    torch.testing.assert_close(filled.item_ID, expected.item_ID)
    torch.testing.assert_close(filled.modality_weight_IM, expected.modality_weight_IM)
    assert not torch.allclose(filled.item_ID, left_out.item_ID, atol=1e-3)


SMALL_L2 = {"softmax": (0.02, 1.0), "squares": (0.5, 0.5), "bpr": (0.02, 1.0)}  # and its exponent, for data this small


@pytest.mark.parametrize("backbone", ["mf", "lightgcn", "ngcf"])
@pytest.mark.parametrize("ranking", SMALL_L2)
def test_trainer_planted_families_are_recovered(backbone, ranking):
    data, held_out, family = planted()
    l2, exponent = SMALL_L2[ranking]
    objective = ObjectiveConfig(ranking=ranking, l2=l2, l2_exponent=exponent, contrastive_weight=0.003)
    shape = ModelConfig(backbone=backbone, embedding_dim=16, content_weight=0.4)
    trainer = Trainer(data, held_out, shape, config(objective=objective), Micro)
    reports = list(trainer.fit())
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert trainer.best_metric > 0.9  # chance is 20 / 80
    vectors = trainer.best_vectors()
    cold = [item for item in range(70, NUM_ITEMS) if any(present[item] for present in data.present.values())]
    score = vectors.user_UD @ vectors.item_ID[cold].T
    same = torch.tensor(family[cold])[None] == torch.arange(NUM_USERS)[:, None] % NUM_FAMILIES
    assert score[same].mean() > score[~same].mean() + 0.1


@pytest.mark.parametrize("ranking", ["softmax", "squares"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_trainer_first_losses_are_those_of_the_cpu(device, ranking):
    """An epoch is one step on all pairs and all items: another generator draws another order, and the same loss."""
    data, held_out, _ = planted()
    objective = ObjectiveConfig(ranking=ranking, **FIXED)
    settings = dataclasses.replace(config(objective=objective), max_epochs=3, batch_size=10_000)
    shape = ModelConfig(embedding_dim=16, content_weight=0.4)
    trainer = Trainer(data, held_out, shape, settings, Micro)
    other = Trainer(data, held_out, shape, dataclasses.replace(settings, device=device, seed=1), Micro)
    other.start_from(trainer.best_parameters(), rate_factor=1.0)
    assert other.device.type == device
    assert losses(other) == pytest.approx(losses(trainer), rel=1e-3)


def test_trainer_same_seed_same_losses_other_seed_others():
    data, held_out, _ = planted()
    first, again, other = (
        losses(Trainer(data, held_out, ModelConfig(embedding_dim=8), config(seed=seed), Micro)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(("backbone", "graph"), [("lightgcn", "exact"), ("ngcf", "exact"), ("lightgcn", "faiss")])
def test_trainer_resumed_equals_uninterrupted(backbone, graph):
    data, held_out, _ = planted()
    shape = ModelConfig(backbone=backbone, embedding_dim=8, graph=graph, neighbours=3, initial_graph_weight=0.2)
    whole = Trainer(data, held_out, shape, config(), COARSE_MICRO)
    reports, states = zip(*((report, copy.deepcopy(whole.state())) for report in whole.fit()), strict=True)
    resumed = Trainer(data, held_out, shape, config(), COARSE_MICRO)
    resumed.load_state(states[10])  # an epoch after the graphs were searched anew
    assert losses(resumed) == [report.loss for report in reports[11:]]
    for name, value in whole.best_parameters().items():
        assert torch.equal(value, resumed.best_parameters()[name]), name
    assert torch.equal(whole.best_vectors().item_ID, resumed.best_vectors().item_ID)


@pytest.mark.parametrize("graph", ["exact", "faiss"])
def test_trainer_best_vectors_are_those_that_were_measured(graph):
    data, held_out, _ = planted()
    shape = ModelConfig(embedding_dim=8, graph=graph, neighbours=3, initial_graph_weight=0.2)
    trainer = Trainer(data, held_out, shape, config(), COARSE_MICRO)
    measured = {report.epoch: trainer.vectors().item_ID.clone() for report in trainer.fit()}
    assert torch.equal(trainer.best_vectors().item_ID, measured[trainer.best_epoch])
    assert trainer.check()["recall@20"] == trainer.best_metric


@pytest.mark.parametrize(("structure_gradient", "expected"), [("epoch", [True, False, False]), ("step", [True] * 3)])
def test_trainer_structure_gradient_reaches_the_projection_on_the_steps_of_its_setting(structure_gradient, expected):
    """For `epoch` on the first step of each, not of the first one alone; elsewhere the projection stays as it is."""
    data, held_out, _ = planted()
    settings = dataclasses.replace(config(structure_gradient=structure_gradient), max_epochs=3, batch_size=120)
    trainer = Trainer(data, held_out, ModelConfig(embedding_dim=8, initial_graph_weight=0.5), settings, Micro)
    assert trainer.ranking_loss.num_batches(settings.batch_size) == len(expected)
    weights = [trainer.model.item_graphs[name].projection.weight for name in ("image", "text")]
    before, moved = [], []

    def remember(*_):
        before[:] = [weight.detach().clone() for weight in weights]

    def compare(*_):
        moved.append([not torch.equal(weight, was) for weight, was in zip(weights, before, strict=True)])

    trainer.optimizer.register_step_pre_hook(remember)
    trainer.optimizer.register_step_post_hook(compare)
    list(trainer.fit())
    assert moved == [[step, step] for step in expected] * 3


def test_trainer_learning_rate_decays_smoothly_and_is_what_the_optimiser_steps_by():
    data, held_out, _ = planted()
    decay = {"learning_rate_decay": 0.5, "learning_rate_decay_epochs": 2}
    settings = dataclasses.replace(config(**decay), max_epochs=5, batch_size=10_000)  # an epoch is one step
    trainer = Trainer(data, held_out, ModelConfig(embedding_dim=8), settings, Micro)
    stepped = []
    trainer.optimizer.register_step_pre_hook(lambda optimizer, *_: stepped.append(optimizer.param_groups[0]["lr"]))
    reported = [report.learning_rate for report in trainer.fit()]
    assert reported == pytest.approx([0.01 * 0.5 ** (epoch / 2) for epoch in range(5)])
    assert stepped == reported


@pytest.mark.parametrize("graph", ["exact", "faiss"])
def test_trainer_start_from_has_the_graphs_of_the_parameters(graph):
    """Searched anew by them, not followed from those of the random start."""
    data, held_out, _ = planted()
    shape = ModelConfig(embedding_dim=8, graph=graph, neighbours=3, initial_graph_weight=0.2)
    settings = dataclasses.replace(config(), max_epochs=4)
    earlier, warm = (
        Trainer(data, held_out, shape, dataclasses.replace(settings, seed=seed), COARSE_MICRO) for seed in (0, 1)
    )
    list(earlier.fit())
    warm.start_from(earlier.best_parameters())
    for name in ("image", "text"):
        item_graph = warm.model.item_graphs[name]
        with torch.no_grad():
            projected = item_graph.projection(data.features[name])
        expected = nearest_neighbours(projected, data.present[name], 3, graph, search=COARSE)
        assert torch.equal(item_graph.learned.neighbour_IK, expected.neighbour_IK)
    if graph == "exact":
        assert torch.equal(warm.vectors().item_ID, earlier.best_vectors().item_ID)


def test_trainer_no_gain_stops_after_patience():
    data, held_out, _ = planted()
    settings = config(check_every=1, patience=3, objective=ObjectiveConfig(**FIXED))
    settings = dataclasses.replace(settings, learning_rate=1e-12, max_epochs=50)
    trainer = Trainer(data, held_out, SHAPE, settings, Micro)
    list(trainer.fit())
    assert trainer.epoch == trainer.best_epoch + 3


def test_trainer_without_held_out_keeps_the_last_epoch():
    data, _, _ = planted()
    trainer = Trainer(data, None, ModelConfig(embedding_dim=8), dataclasses.replace(config(), max_epochs=7), Micro)
    list(trainer.fit())
    assert trainer.best_epoch == 7


def test_trainer_extreme_features_and_rate_raise_diverged_error():
    data, held_out, _ = planted()
    trainer = Trainer(
        data, held_out, ModelConfig(embedding_dim=8), dataclasses.replace(config(), learning_rate=1e38), Micro
    )
    with pytest.raises(DivergedError, match="learning_rate"):
        list(trainer.fit())


def test_trainer_without_modalities_is_the_plain_backbone():
    data, held_out, _ = planted()
    trainer = Trainer(data, held_out, ModelConfig(backbone="mf", modalities=(), embedding_dim=8), config(), Micro)
    list(trainer.fit())
    vectors = trainer.best_vectors()
    assert torch.equal(vectors.item_ID, trainer.best_parameters()["item_embedding_ID"])


def make_model(**changes):
    data, _, _ = planted()
    return data, Micro(data, ModelConfig(embedding_dim=8, neighbours=5, **changes), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("content_weight", [1.0, 0.3])
def test_micro_forward_equals_dense_float64_reference(content_weight):
    data, model = make_model(initial_graph_weight=0.7, content_weight=content_weight)
    model.eval()
    vectors = model()
    embedding = model.item_embedding_ID.detach().double().numpy()
    hidden = []
    for name in ("image", "text"):
        present = data.present[name].numpy()
        graph = model.item_graphs[name]
        weight, bias = (value.detach().double().numpy() for value in (graph.projection.weight, graph.projection.bias))
        features = data.features[name].double().numpy()
        initial, learned = (
            reference.symmetric_normalised(reference.knn_adjacency(matrix, present, 5))
            for matrix in (features, features @ weight.T + bias)
        )
        hidden.append((0.7 * initial + 0.3 * learned) @ embedding)
    np.testing.assert_allclose(vectors.modality_IMD.detach().numpy(), np.stack(hidden, axis=1), atol=1e-5)
    nodes = np.concatenate([model.user_embedding_UD.detach().double().numpy(), embedding])
    adjacency = np.zeros((NUM_USERS + NUM_ITEMS,) * 2)
    for user, item in zip(data.user_T.tolist(), data.item_T.tolist(), strict=True):
        adjacency[user, NUM_USERS + item] = adjacency[NUM_USERS + item, user] = 1
    normalised = reference.symmetric_normalised(adjacency)
    layers = (nodes + normalised @ nodes + normalised @ normalised @ nodes) / 3
    np.testing.assert_allclose(vectors.user_UD.detach().numpy(), layers[:NUM_USERS], atol=1e-5)
    content = vectors.fused_ID.detach().double().numpy()
    norm = np.linalg.norm(content, axis=1, keepdims=True)
    unit = np.divide(content, norm, out=np.zeros_like(content), where=norm > 0)
    expected = layers[NUM_USERS:] + content_weight * unit
    trained = np.unique(data.item_T.numpy())  # the others' vectors: test_content_map.py
    np.testing.assert_allclose(vectors.item_ID.detach().numpy()[trained], expected[trained], atol=1e-5)


def test_trainer_batch_size_auto_gives_an_epoch_fourteen_steps():
    user_T, item_T = (side.flatten() for side in torch.meshgrid(torch.arange(600), torch.arange(100), indexing="ij"))
    data = TrainingData(num_users=600, num_items=100, user_T=user_T, item_T=item_T, features={}, present={})
    trainer = Trainer(data, None, ModelConfig(embedding_dim=8), TrainConfig(device="cpu", batch_size="auto"), Micro)
    assert trainer.batch_size == math.ceil(len(data.user_T) / 14) > 4096
    assert trainer.ranking_loss.num_batches(trainer.batch_size) == 14


def test_micro_structure_gradient_reaches_projection_and_only_when_asked():
    _, model = make_model()
    for asked in (True, False):
        model.zero_grad(set_to_none=True)
        model(structure_gradient=asked).content_ID.square().cumsum(1).sum().backward()
        gradient = model.item_graphs["image"].projection.weight.grad
        assert (gradient is not None and gradient.abs().sum() > 0) == asked


def test_item_graph_structure_gradient_equals_finite_differences():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, dtype=torch.float64, generator=generator)
    graph = ItemGraph(
        features, torch.arange(12) != 3, dim=4, num_neighbours=4, initial_weight=0.6, generator=generator
    ).double()
    graph.refresh()
    items = torch.randn(12, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    parameters = (items, graph.projection.weight, graph.projection.bias)
    assert torch.autograd.gradcheck(lambda *_: graph.propagate(items, with_gradient=True), parameters)


def test_item_graph_approximate_is_followed_restored_and_searched_anew():
    generator = torch.Generator().manual_seed(0)
    features, present = torch.randn(400, 6, generator=generator), torch.arange(400) % 9 != 0
    settings = {"dim": 6, "num_neighbours": 4, "initial_weight": 0.5, "generator": generator, "method": "faiss"}
    graph = ItemGraph(features, present, **settings)
    found = graph.learned
    with torch.no_grad():
        graph.projection.weight.add_(0.05 * torch.randn(6, 6, generator=generator))
    graph.refresh()
    followed, matrix = graph.learned, graph._constant.forward @ torch.eye(400)
    assert not torch.equal(followed.neighbour_IK, found.neighbour_IK)
    restored = ItemGraph(features, present, **settings)
    restored.load_state_dict(graph.state_dict())
    restored.restore()
    assert torch.equal(restored._constant.forward @ torch.eye(400), matrix)
    assert restored.learned.recall == followed.recall
    graph.refresh(anew=True)
    projected = graph.projection(features).detach()
    assert torch.equal(graph.learned.neighbour_IK, nearest_neighbours(projected, present, 4, "faiss").neighbour_IK)


def test_item_graph_approximate_of_fewer_items_than_neighbours_is_restored():
    features, present = torch.eye(5), torch.tensor([True, False, True, True, False])
    graph = ItemGraph(
        features, present, dim=5, num_neighbours=4, initial_weight=0.5, generator=torch.Generator(), method="faiss"
    )
    matrix = graph._constant.forward @ torch.eye(5)
    graph.restore()
    torch.testing.assert_close(graph._constant.forward @ torch.eye(5), matrix)


@pytest.mark.parametrize(("saved", "loading"), [("exact", "faiss"), ("faiss", "exact")])
def test_trainer_goes_on_from_a_state_of_the_other_search(saved, loading):
    """As on another device with `auto`, or from before neighbours were part of the state."""
    data, held_out, _ = planted()
    trainers = [
        Trainer(data, held_out, ModelConfig(embedding_dim=8, graph=graph, neighbours=3), config(), COARSE_MICRO)
        for graph in (saved, loading)
    ]
    before, after = trainers
    next(before.fit())
    after.load_state(before.state())
    assert torch.equal(after.model.item_embedding_ID, before.model.item_embedding_ID)
    assert [report.epoch for report in after.fit()][:1] == [2]
    assert torch.isfinite(after.best_vectors().item_ID).all()


def test_objective_items_without_modality_take_no_part_in_contrast():
    data, model = make_model()
    exact = ObjectiveConfig(ranking="bpr", contrastive="exact")
    generator = torch.Generator().manual_seed(0)
    ranking_loss = make_ranking_loss(data, exact)
    batch = next(iter(ranking_loss.batches(8, generator)))
    vectors = model()
    weights = starting_weights(model.config, exact)
    terms = objective(vectors, model.modality_items, ranking_loss, batch, exact, weights, generator)
    expected = sum(
        reference.contrastive(
            vectors.modality_IMD[:, index].detach().double().numpy(),
            vectors.fused_ID.detach().double().numpy(),
            data.present[name].nonzero().squeeze(1).tolist(),
            0.5,
        )
        for index, name in enumerate(model.modality_names)
    )
    assert terms.contrastive.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta:"])
def test_resolve_device_other_names_are_refused(name):
    with pytest.raises(ValueError, match="use 'auto', 'cpu', 'cuda' or"):
        resolve_device(name)


def test_micro_modality_named_twice_is_refused():
    with pytest.raises(ValueError, match="names one twice"):
        make_model(modalities=("text", "text"))
