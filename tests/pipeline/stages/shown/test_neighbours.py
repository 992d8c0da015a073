"""Which items are shown with their neighbours, on items whose content is known."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from pipeline.columns import ITEM_ID, USER_ID
from pipeline.dataset.dataset import Dataset
from pipeline.stages.shown.neighbours import NOW, THEN, neighbourhoods

NUM = 12


@pytest.fixture
def dataset():
    """Items 0 to 3 look the same, the others each their own way; all but the last have been taken."""
    features = np.eye(NUM, dtype=np.float32)
    features[:4] = features[0]
    rows = [(0, item, "train") for item in range(NUM - 1)]
    return Dataset(
        items=pl.DataFrame({ITEM_ID: [f"i{n:02}" for n in range(NUM)]}),
        users=pl.DataFrame({USER_ID: ["u"]}),
        interactions=pl.DataFrame(rows, schema=["user_index", "item_index", "split"], orient="row"),
        features={"image": features},
        present={"image": np.ones(NUM, dtype=bool)},
    )


def graph(step=1):
    """Every item's neighbours are the next ones."""
    rows = [
        {"item_id": f"i{n:02}", "neighbour_id": f"i{(n + step * k) % NUM:02}", "modality": "learned", "rank": k}
        for n in range(NUM)
        for k in (1, 2)
    ]
    return pa.Table.from_pylist([{**row, "weight": 0.9} for row in rows])


def test_neighbourhoods_best_are_alike_in_content_and_worst_are_not(dataset):
    groups = {one.title: one for one in neighbourhoods(dataset, graph())}
    assert list(groups) == ["Best", "At random", "Worst"]
    assert [row.item for row in groups["Best"].rows] == ["i00", "i01", "i02"]
    assert groups["Best"].rows[0].note == "content alike 1.00"
    assert {row.note for row in groups["Worst"].rows} == {"content alike 0.00"}
    shown = {row.item for group in groups.values() for row in group.rows}
    assert "i11" not in shown  # nobody has taken it
    assert [one.id for one in groups["Best"].rows[0].lanes["learned vectors"]] == ["i01", "i02"]


def test_neighbourhoods_most_changed_have_those_of_now_and_then(dataset):
    delta = pa.table(
        {
            "id": ["i05", "i06", "i07", "i11", "i08"],
            "change": ["moved", "moved", "added", "moved", "moved"],
            "cosine": pa.array([0.9, 0.1, None, 0.0, 0.5], pa.float32()),
        }
    )
    since = neighbourhoods(dataset, graph(), delta, graph(step=2))[-1]
    assert [row.item for row in since.rows] == ["i06", "i08", "i05"]
    assert {name: [one.id for one in lane] for name, lane in since.rows[0].lanes.items()} == {
        NOW: ["i07", "i08"],
        THEN: ["i08", "i10"],
    }


def test_neighbourhoods_of_items_without_neighbours_are_none(dataset):
    assert neighbourhoods(dataset, graph().slice(0, 0)) == []
