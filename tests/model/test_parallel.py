"""Two processes against one: the same start, gradients, losses, vectors and checkpoints, in half the memory."""

import copy
import dataclasses
import pickle

import pytest
import torch

import model.structure
from model.config import ModelConfig, ObjectiveConfig
from model.graph import nearest_neighbours
from model.micro import Micro
from model.objective import objective
from model.parallel import WHOLE, Columns
from model.ranks import joined, launch
from model.split import Split, SplitParameter, split_of
from model.training import Trainer
from tests.model.test_training import config, planted

EPOCHS, SAVED_AFTER = 4, 2
CASES = {
    "defaults": (ModelConfig(), ObjectiveConfig(), "epoch"),
    "mixed graphs, gradient at every step": (
        ModelConfig(fusion="graph", item_graph_layers=2, initial_graph_weight=0.5),
        ObjectiveConfig(contrastive="exact"),
        "step",
    ),
    "mf, bpr, sampled contrast": (
        ModelConfig(backbone="mf", fusion="mean"),
        ObjectiveConfig(ranking="bpr", contrastive_samples=20, contrastive_weight=0.5),
        "epoch",
    ),
    "ngcf, concatenation": (ModelConfig(backbone="ngcf", fusion="concat"), ObjectiveConfig(), "epoch"),
    "rows normalised, sampled softmax": (
        ModelConfig(normalisation="row"),
        ObjectiveConfig(ranking="softmax", softmax_candidates=30),
        "epoch",
    ),
    "softmax": (ModelConfig(), ObjectiveConfig(ranking="softmax", l2=0.02, l2_exponent=1.0), "epoch"),
    "approximate graphs": (
        ModelConfig(graph="faiss", initial_graph_weight=0.5),
        ObjectiveConfig(contrastive_weight=0.5),  # attention's gradients are well above rounding then
        "epoch",
    ),
    "no content": (ModelConfig(modalities=()), ObjectiveConfig(), "epoch"),
}


def other_neighbours(feature_ID, *arguments, **keywords):
    """As on a machine that breaks every tie, and finds neighbours, otherwise."""
    return nearest_neighbours(feature_ID.flip(0), *arguments, **keywords)


def make(case, columns, dim=8):
    model_config, terms, structure_gradient = CASES[case]
    data, held_out, _ = planted()
    model.structure.nearest_neighbours = other_neighbours if columns.rank else nearest_neighbours
    settings = config(objective=terms, structure_gradient=structure_gradient, check_every=1)
    settings = dataclasses.replace(settings, max_epochs=EPOCHS, batch_size=180)
    return Trainer(
        data, held_out, dataclasses.replace(model_config, embedding_dim=dim), settings, Micro, columns=columns
    )


def first_step(trainer):
    """Gradients of the first batch, with those of the learned graphs, whole on the first process."""
    model, terms = trainer.model, trainer.config.objective
    batch = next(iter(trainer.ranking_loss.batches(64, trainer.generator)))
    vectors = model(structure_gradient=True)
    weights = trainer.adaptation.weights
    objective(
        vectors, model.modality_items, trainer.ranking_loss, batch, terms, weights, trainer.generator
    ).total.backward()
    return {
        name: trainer.columns.gather(parameter.grad, trainer._splits[name])
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def train(trainer):
    """Losses and metrics of every epoch from here on, the state after `SAVED_AFTER`, and the vectors at the end."""
    reports, saved = [], None
    for report in trainer.fit():
        reports.append((report.loss, report.ranking, report.contrastive, report.metric))
        state = trainer.state()
        saved = copy.deepcopy(state) if report.epoch == SAVED_AFTER else saved
    item_ID = trainer.columns.gather(trainer.best_vectors().item_ID, Split(1))
    return {"reports": reports, "saved": saved, "item_ID": item_ID, "best": trainer.best_parameters()}


def whole_story(case, columns, saved_by_one=None):
    """Start, gradients, and training: from the start, and from where one process saved it, by default this one."""
    trainer = make(case, columns)
    story = {"start": trainer.best_parameters(), "gradients": first_step(trainer)}
    story |= train(make(case, columns))
    resumed = make(case, columns)
    resumed.load_state(saved_by_one if columns.count > 1 else copy.deepcopy(story["saved"]))
    return story | {"resumed": train(resumed)["reports"]}


def held_bytes(columns):
    """Bytes of parameters, Adam's moments and the best copy; bytes that a forward pass keeps for the backward one."""
    trainer = make("defaults", columns, dim=256)
    next(trainer.fit())
    moments = [slot for slots in trainer.optimizer.state_dict()["state"].values() for slot in slots.values()]
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vectors = trainer.model()
    own = [*trainer.model.parameters(), *moments, *trainer._best.values()]
    return sum(tensor.nbytes for tensor in own), sum(kept.values()) + vectors.item_ID.nbytes


def both_processes(pickled):
    """Takes and gives bytes: tensors would go through shared memory, an open file each, beyond what a user may have."""
    earlier = pickle.loads(pickled)
    with joined(torch.device("cpu")) as columns:
        stories = {case: whole_story(case, columns, earlier[case] if columns.is_first else None) for case in CASES}
        return pickle.dumps((stories, held_bytes(columns)))


@pytest.fixture(scope="module")
def one():
    """What one process does, case by case."""
    return {case: whole_story(case, WHOLE) for case in CASES}


@pytest.fixture(scope="module")
def two(one):
    """What two do, case by case, as the first of them has it, and the bytes that it holds."""
    saved = {case: story["saved"] for case, story in one.items()}
    return pickle.loads(launch(2, both_processes, pickle.dumps(saved)))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_start_with_the_same_parameters(one, two, case):
    for name, value in one[case]["start"].items():
        assert torch.equal(two[0][case]["start"][name], value), name


@pytest.mark.parametrize("case", CASES)
def test_two_processes_find_the_same_gradients(one, two, case):
    assert two[0][case]["gradients"].keys() == one[case]["gradients"].keys()
    for name, gradient in one[case]["gradients"].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(two[0][case]["gradients"][name], gradient, rtol=1e-4, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_come_to_the_same_losses_metrics_and_vectors(one, two, case):
    together, alone = two[0][case], one[case]
    for ours, theirs in zip(together["reports"], alone["reports"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    torch.testing.assert_close(together["item_ID"], alone["item_ID"], rtol=1e-3, atol=1e-4)
    for name, value in alone["best"].items():
        torch.testing.assert_close(together["best"][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_checkpoint_of_one_process_is_resumed_by_two(one, two, case):
    for ours, theirs in zip(two[0][case]["resumed"], one[case]["reports"][SAVED_AFTER:], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_checkpoint_of_two_processes_is_resumed_by_one(one, two, case):
    resumed = make(case, WHOLE)
    resumed.load_state(two[0][case]["saved"])
    for ours, theirs in zip(train(resumed)["reports"], one[case]["reports"][SAVED_AFTER:], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_two_processes_hold_half_of_what_has_columns_each(two):
    parameters, kept = held_bytes(WHOLE)
    half_parameters, half_kept = two[1]
    assert half_parameters / parameters == pytest.approx(0.5, abs=0.01)
    assert half_kept / kept == pytest.approx(0.5, abs=0.05)


def test_columns_own_parts_put_together_are_the_whole():
    whole = torch.arange(48.0).reshape(4, 12)
    left, right = (Columns(rank, 2).own(whole, Split(1, blocks=3)) for rank in range(2))
    assert Columns(0, 2).whole_shape(left, Split(1, blocks=3)) == whole.shape
    assert left[0].tolist() == [0, 1, 4, 5, 8, 9]
    assert right[0].tolist() == [2, 3, 6, 7, 10, 11]


def test_split_parameter_stays_one_in_a_copy_of_its_module_and_is_an_ordinary_tensor_in_a_state():
    layer = torch.nn.Linear(2, 3)
    layer.weight = SplitParameter(torch.ones(3, 2), Split(1, blocks=2))
    pickled = pickle.loads(pickle.dumps(layer.weight))
    assert split_of(pickled) == split_of(layer.weight)
    copied = copy.deepcopy(layer).double()
    assert (split_of(copied.weight), split_of(copied.bias)) == (Split(1, blocks=2), None)
    assert copied.weight.data_ptr() != layer.weight.data_ptr()
    assert copied.weight.requires_grad
    assert [type(tensor) for tensor in layer.state_dict().values()] == [torch.Tensor] * 2


def test_columns_dimension_that_cannot_be_split_is_refused_with_the_possible_numbers():
    with pytest.raises(ValueError, match=r"embedding_dim 10 cannot be split over 4 processes.*\[1, 2, 5, 10\]"):
        Columns(0, 4).width(10)
