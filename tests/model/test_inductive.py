import dataclasses

import pytest
import torch

from model.config import ModelConfig
from model.finishing.finish import finish
from model.inductive import ContentSide, embed_new_items, new_item_maps
from model.micro import Micro
from tests.model.test_training import planted


def test_embed_new_items_equal_the_model_with_the_item_in_it():
    """The content vector is that of the graph's row without an ID embedding; absent modalities have no say."""
    data, _, _ = planted()
    shape = ModelConfig(embedding_dim=8, neighbours=5, initial_graph_weight=0.6)
    model = Micro(data, shape, torch.Generator().manual_seed(0)).eval()
    sides = {
        name: ContentSide(
            known_IF=data.features[name],
            known_present_I=data.present[name],
            new_QF=data.features[name][:4] * 2.0,
            new_present_Q=torch.tensor([True, True, False, True]),
        )
        for name in ("image", "text")
    }
    map_CD = model.content_map.fit(model().item_ID)
    found = embed_new_items(dict(model.state_dict()), {"map_CD": map_CD}, sides, shape)
    for nothing in (found.vector_QD, found.content_QD, found.modality_weight_QM):
        assert nothing[2].abs().sum() == 0
    torch.testing.assert_close(found.content_QD[[0, 1, 3]].norm(dim=1), torch.ones(3))
    expected = naive_vector(model, sides, shape, 0)
    torch.testing.assert_close(found.content_QD[0], expected, atol=1e-5, rtol=1e-4)


def test_embed_new_items_by_graphs_have_the_content_s_part_of_an_item_s_vector():
    data, _, _ = planted()
    shape = ModelConfig(embedding_dim=8, new_items="graphs", content_weight=0.3)
    model = Micro(data, shape, torch.Generator().manual_seed(0)).eval()
    sides = {
        name: ContentSide(
            known_IF=data.features[name],
            known_present_I=data.present[name],
            new_QF=data.features[name][:4],
            new_present_Q=torch.ones(4, dtype=torch.bool),
        )
        for name in model.modality_names
    }
    found = embed_new_items(dict(model.state_dict()), {}, sides, shape)
    torch.testing.assert_close(found.vector_QD, 0.3 * found.content_QD)
    torch.testing.assert_close(found.vector_QD.norm(dim=1), torch.full((4,), 0.3))


def untouched(data, model):
    """The catalogue's items without interactions, as if they came from outside."""
    return {
        name: ContentSide(
            known_IF=data.features[name],
            known_present_I=data.present[name],
            new_QF=data.features[name][70:],
            new_present_Q=data.present[name][70:],
        )
        for name in model.modality_names
    }


@torch.no_grad()
@pytest.mark.parametrize("absent", ["left-out", "mean"])
def test_embed_new_items_equal_those_of_the_catalogue_without_interactions(absent):
    data, _, _ = planted()
    shape = ModelConfig(embedding_dim=8, absent=absent)
    assert not all(present_I[70:].all() for present_I in data.present.values())
    model = Micro(data, shape, torch.Generator().manual_seed(0)).eval()
    in_model = model().item_ID
    sides = untouched(data, model)
    found = embed_new_items(dict(model.state_dict()), {"map_CD": model.content_map.fit(in_model)}, sides, shape)
    torch.testing.assert_close(found.vector_QD, in_model[70:])


@pytest.mark.parametrize("absent", ["left-out", "mean"])
@pytest.mark.parametrize("new_items", ["map", "raised"])
def test_embed_new_items_equal_the_finished_ones_of_the_catalogue(absent, new_items):
    data, held_out, _ = planted()
    shape = ModelConfig(embedding_dim=8, absent=absent, new_items=new_items)
    model = Micro(data, shape, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        vectors = model()
        map_CD = model.content_map.fit(vectors.item_ID)
    finished = finish(vectors.user_UD, vectors.item_ID, data, held_out, shape, model.modality_names)
    assert any(finished.taste_weights.values())
    sides = untouched(data, model)
    found = embed_new_items(dict(model.state_dict()), new_item_maps(map_CD, finished), sides, shape)
    torch.testing.assert_close(found.vector_QD, finished.item_ID[70:], atol=1e-5, rtol=1e-4)


def naive_vector(model, sides, shape, row):
    """Dense rows of A for one new item, in plain loops over its neighbours."""
    hidden = []
    for name, side in sides.items():
        projection = model.item_graphs[name].projection
        views = [(side.known_IF, side.new_QF[row], shape.initial_graph_weight)]
        views.append((projection(side.known_IF), projection(side.new_QF[row]), 1 - shape.initial_graph_weight))
        total = torch.zeros(8)
        for known, new, share in views:
            similarity = torch.cosine_similarity(known, new[None]).clamp(min=0) * side.known_present_I
            chosen = similarity.argsort(descending=True)[: shape.neighbours - 1].tolist()
            degree = 1 + similarity[chosen].sum()
            for item in chosen:
                own = torch.cosine_similarity(known, known[item][None]).clamp(min=0) * side.known_present_I
                degree_of_item = own.sort(descending=True).values[: shape.neighbours].sum()
                total += share * similarity[item] / (degree * degree_of_item).sqrt() * model.item_embedding_ID[item]
        hidden.append(total)
    fused, _ = model.fusion(torch.stack(hidden)[None], torch.ones(1, 2, dtype=torch.bool))
    return torch.nn.functional.normalize(fused[0], dim=0)


def test_embed_new_items_more_layers_are_refused():
    with pytest.raises(ValueError, match="item_graph_layers"):
        embed_new_items({}, torch.zeros(0, 0), {}, dataclasses.replace(ModelConfig(), item_graph_layers=2))
