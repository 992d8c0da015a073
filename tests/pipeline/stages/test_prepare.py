"""Stage `prepare` on vectors that somebody else made, with numbers that are hard on float32."""

import numpy as np
import polars as pl
import pytest
import torch

from features.errors import FeatureError
from model.graph import nearest_neighbours
from pipeline import stages
from pipeline.dataset.dataset import load_dataset
from pipeline.opening import open_run
from pipeline.stages.order import do_stages
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import FEATURES, NUM_ITEMS, WITHOUT_CONTENT, make_tiny

MATRIX = np.random.default_rng(1).normal(size=(WITHOUT_CONTENT, FEATURES))


def prepared(folder, matrix):
    """The dataset of a night on these vectors; the last item has none."""
    folder.mkdir()
    config = make_tiny(folder)
    ids = [f"item-{row:02d}" for row in range(len(matrix))]
    pl.DataFrame({"item_id": ids, "vector": matrix}).write_parquet(folder / "text.parquet")
    run = open_run(config, "night", quiet())
    do_stages(run, upto=stages.PREPARE)
    return load_dataset(run.folder(stages.PREPARE))


def graph(dataset):
    return nearest_neighbours(torch.from_numpy(dataset.features["text"]), torch.from_numpy(dataset.present["text"]), 4)


@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-1000, 2.0**63, 2.0**100, 2.0**1000])
def test_prepare_vectors_of_any_length_have_the_graph_that_their_directions_have(tmp_path, scale):
    plain, scaled = MATRIX.copy(), MATRIX.copy()
    scaled[::2] *= scale
    expected, found = (graph(prepared(tmp_path / name, rows)) for name, rows in (("plain", plain), ("scaled", scaled)))
    assert torch.equal(found.neighbour_IK, expected.neighbour_IK)
    torch.testing.assert_close(found.similarity_IK, expected.similarity_IK)


def test_prepare_constant_vectors_are_alike_and_zeros_are_absent(tmp_path):
    matrix = np.full((WITHOUT_CONTENT, FEATURES), 3e30)
    matrix[4] = 0
    dataset = prepared(tmp_path / "shop", matrix)
    absent_I = np.isin(np.arange(NUM_ITEMS), [4, WITHOUT_CONTENT])
    np.testing.assert_array_equal(dataset.present["text"], ~absent_I)
    similarity_IK = graph(dataset).similarity_IK.numpy()
    np.testing.assert_allclose(similarity_IK[~absent_I], 1, rtol=1e-6)
    assert not similarity_IK[absent_I].any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_prepare_value_that_is_no_number_is_refused_with_file_item_and_mend(tmp_path, value):
    matrix = MATRIX.copy()
    matrix[2, 1] = value
    with pytest.raises(FeatureError, match=r"text\.parquet: item 'item-02' has a vector with NaN or infinite.*leave"):
        prepared(tmp_path / "shop", matrix)
