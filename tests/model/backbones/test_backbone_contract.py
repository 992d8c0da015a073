"""What every backbone must keep to (`model.backbones.Backbone`); a new one is covered by its name alone.

`test_backbones.py` holds each against its own formula.
Shapes: U users, I items, B some of the users, D dimension.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import backbones
from model.data import TrainingData
from model.user_item import UserItemGraph

NAMES = sorted(backbones.BACKBONES)
NUM_USERS, NUM_ITEMS, DIM, NUM_LAYERS = 9, 7, 4, 2
COLD_USER, COLD_ITEM = NUM_USERS - 1, NUM_ITEMS - 1
EXAMPLES = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def interactions():
    """Two int64 tensors; the last user and the last item have none."""
    chosen_UI = torch.rand(NUM_USERS, NUM_ITEMS, generator=torch.Generator().manual_seed(1)) < 0.4
    chosen_UI[COLD_USER], chosen_UI[:, COLD_ITEM] = False, False
    user_T, item_T = chosen_UI.nonzero().T.contiguous()
    return user_T, item_T


def make(name, normalisation, *, num_layers=NUM_LAYERS, pairs=None):
    user_T, item_T = interactions() if pairs is None else pairs
    data = TrainingData(
        num_users=NUM_USERS, num_items=NUM_ITEMS, user_T=user_T, item_T=item_T, features={}, present={}
    )  # fmt: skip
    graph = UserItemGraph(data, normalisation)
    generator = torch.Generator().manual_seed(2)
    return backbones.BACKBONES[name](adjacency=graph, dim=DIM, num_layers=num_layers, generator=generator)


def embeddings(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, DIM, generator=generator, requires_grad=True) for rows in (NUM_USERS, NUM_ITEMS)]


@pytest.fixture
def float64():
    """Graphs, weights and embeddings made in a test are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("normalisation", ["symmetric", "row"])
@pytest.mark.parametrize("name", NAMES)
class TestBackboneContract:
    def test_backbone_output_has_the_shapes_and_dtype_of_the_embeddings(self, name, normalisation):
        for backbone in (make(name, normalisation), make(name, normalisation).eval()):
            user_UD, item_ID = backbone(*embeddings())
            assert (user_UD.shape, item_ID.shape) == ((NUM_USERS, DIM), (NUM_ITEMS, DIM))
            assert user_UD.dtype == item_ID.dtype == torch.float32

    def test_backbone_of_no_layers_gives_the_embeddings(self, name, normalisation):
        """Or has no layers to leave out: two are then the same as none."""
        sides = embeddings()
        none, two = (make(name, normalisation, num_layers=count).eval()(*sides) for count in (0, 2))
        expected = two if all(map(torch.equal, none, two)) else sides
        torch.testing.assert_close(torch.cat(none), torch.cat(list(expected)))

    @EXAMPLES
    @given(user_order=st.permutations(range(NUM_USERS)), item_order=st.permutations(range(NUM_ITEMS)))
    def test_backbone_permuted_nodes_permuted_vectors(self, name, normalisation, user_order, item_order):
        user_U, item_I = torch.tensor(user_order), torch.tensor(item_order)  # who stands at each place now
        user_T, item_T = interactions()
        user_UD, item_ID = embeddings()
        moved = make(name, normalisation, pairs=(user_U.argsort()[user_T], item_I.argsort()[item_T])).eval()
        plain_UD, plain_ID = make(name, normalisation).eval()(user_UD, item_ID)
        moved_UD, moved_ID = moved(user_UD[user_U], item_ID[item_I])
        torch.testing.assert_close(moved_UD, plain_UD[user_U], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(moved_ID, plain_ID[item_I], rtol=1e-4, atol=1e-6)

    @EXAMPLES
    @given(users=st.lists(st.integers(0, NUM_USERS - 1), min_size=1, max_size=NUM_USERS, unique=True))
    def test_backbone_of_some_users_has_the_rows_and_gradients_of_everyone(self, name, normalisation, users):
        backbone, user_B = make(name, normalisation).eval(), torch.tensor(users)
        sides = embeddings()
        every_UD, every_ID = backbone(*sides)
        expected, got = torch.cat([every_UD[user_B], every_ID]), torch.cat(backbone.of_users(*sides, user_B))
        torch.testing.assert_close(got, expected)
        weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(4))
        wanted, found = (torch.autograd.grad((value * weight).sum(), sides) for value in (expected, got))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)

    def test_backbone_gradients_equal_finite_differences(self, name, normalisation, float64):
        backbone = make(name, normalisation).eval()
        # Biases away from 0: of nodes without neighbours the layer would be 0 otherwise, where its length has a kink.
        for weight in backbone.parameters():
            torch.nn.init.uniform_(weight, 0.1, 1.0, generator=torch.Generator().manual_seed(5))
        user_UD, item_ID = embeddings()
        user_B = torch.tensor([4, 0, COLD_USER])
        inputs = (user_UD, item_ID, *backbone.parameters())
        assert torch.autograd.gradcheck(lambda user, item, *_: backbone(user, item), inputs)
        assert torch.autograd.gradcheck(lambda user, item, *_: backbone.of_users(user, item, user_B), inputs)

    def test_backbone_users_and_items_without_interactions_give_numbers(self, name, normalisation):
        """And nobody else's: their vectors depend on their own embedding alone."""
        backbone, sides = make(name, normalisation).eval(), embeddings()
        before_UD, before_ID = backbone(*sides)
        (before_UD.sum() + before_ID.sum()).backward()
        gradients = [value.grad for value in (*sides, *backbone.parameters())]
        assert all(torch.isfinite(value).all() for value in (before_UD, before_ID, *gradients))
        others = embeddings(seed=6)
        with torch.no_grad():
            others[0][COLD_USER], others[1][COLD_ITEM] = sides[0][COLD_USER], sides[1][COLD_ITEM]
        after_UD, after_ID = backbone(*others)
        torch.testing.assert_close(after_UD[COLD_USER], before_UD[COLD_USER])
        torch.testing.assert_close(after_ID[COLD_ITEM], before_ID[COLD_ITEM])

    def test_backbone_nodes_without_interactions_leave_gradients_of_usual_size(self, name, normalisation):
        backbone, sides = make(name, normalisation).eval(), embeddings()
        output = torch.cat(backbone(*sides))
        weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(4))
        (output * weight).sum().backward()
        assert max(value.grad.abs().max() for value in (*sides, *backbone.parameters())) < 1e3

    def test_backbone_in_evaluation_same_vectors_at_every_call(self, name, normalisation):
        backbone, sides = make(name, normalisation).eval(), embeddings()
        first, second = (torch.cat(backbone(*sides)) for _ in range(2))
        assert torch.equal(first, second)

    def test_backbone_same_seed_same_weights_and_draws(self, name, normalisation):
        """Whatever torch's own generator is at."""
        outcomes = []
        for seed in (10, 11):
            torch.manual_seed(seed)
            backbone, sides = make(name, normalisation), embeddings()
            outcomes.append(torch.stack([torch.cat(backbone(*sides)) for _ in range(2)]))
        assert torch.equal(*outcomes)

    def test_backbone_embeddings_are_not_modified(self, name, normalisation):
        sides = embeddings()
        backbone = make(name, normalisation)
        (torch.cat(backbone(*sides)).sum() + torch.cat(backbone.of_users(*sides, torch.tensor([1]))).sum()).backward()
        assert all(map(torch.equal, sides, embeddings()))

    def test_backbone_says_how_many_matrices_it_holds(self, name, normalisation):
        """At least as many as autograd keeps for the backward pass, of the default number of layers."""
        backbone, sides = make(name, normalisation), embeddings()
        known = {value.untyped_storage().data_ptr() for value in (*sides, *backbone.parameters())}
        kept = {}

        def keep(value):
            storage = value.untyped_storage()
            kept[storage.data_ptr()] = storage  # held, so that no other takes its place
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            outputs = backbone(*sides)
        assert all(value.requires_grad for value in outputs)
        held = sum(storage.nbytes() for place, storage in kept.items() if place not in known)
        matrices = held // ((NUM_USERS + NUM_ITEMS) * DIM * 4)  # lengths of rows are less than a matrix
        assert isinstance(backbone.node_tensors, int)
        assert max(1, matrices) <= backbone.node_tensors
