"""The map of a catalogue: what is alike lies together."""

import numpy as np
import polars as pl

from pipeline.columns import ITEM_ID, KIND, TITLE, USER_ID
from pipeline.dataset.dataset import Dataset
from pipeline.stages.shown.places import FEWEST, catalogue_map
from tests.pipeline.release_factory import make_config

NUM = 60


def made(tmp_path, num=NUM):
    """Three kinds whose vectors point three ways; the first item has none."""
    rng = np.random.default_rng(0)
    kind_I = np.arange(num) % 3
    item_ID = np.eye(8)[kind_I] + 0.05 * rng.normal(size=(num, 8))
    item_ID[0] = 0
    dataset = Dataset(
        items=pl.DataFrame(
            {ITEM_ID: range(num), TITLE: [f"t{n}" for n in range(num)], KIND: [f"k{n}" for n in kind_I]}
        ),
        users=pl.DataFrame({USER_ID: [0]}),
        interactions=pl.DataFrame({"user_index": [0], "item_index": [0], "split": ["train"]}),
        features={},
        present={},
    )
    catalogue = make_config(tmp_path, database=False).open_catalogue()
    return catalogue_map(catalogue, dataset, item_ID.astype(np.float32), "colour")


def test_catalogue_map_puts_a_kind_together_and_is_the_same_every_time(tmp_path):
    drawn = made(tmp_path)
    assert drawn == made(tmp_path)
    assert (len(drawn.places), drawn.of, drawn.column, drawn.sheet) == (NUM - 1, NUM, "colour", None)
    assert {(one.name, one.count) for one in drawn.kinds} == {("k0", 20), ("k1", 20), ("k2", 20)}
    place_P2 = np.array([(one.x, one.y) for one in drawn.places])
    kind_P = np.array([one.kind for one in drawn.places])
    assert place_P2.min() == 0
    assert place_P2.max() == 1
    centres = np.array([place_P2[kind_P == kind].mean(axis=0) for kind in range(3)])
    nearest_P = np.linalg.norm(place_P2[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest_P == kind_P).all()
    assert "t0" not in {one.title for one in drawn.places}


def test_catalogue_map_of_a_few_items_is_none(tmp_path):
    assert made(tmp_path, FEWEST) is None
