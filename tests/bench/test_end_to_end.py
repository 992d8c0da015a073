import json

import numpy as np
import polars as pl
import pytest

from bench import end_to_end
from pipeline.columns import TEST, TRAIN, VALIDATION


@pytest.fixture
def movielens(tmp_path, monkeypatch):
    """Every user likes some items and not others; item 0 has no picture, item 1 no text."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((40, 30)) < 0.5)
    ratings = {"user_id": user.astype(str), "item_id": item.astype(str), "rating": rng.integers(3, 6, len(user))}
    pl.DataFrame(ratings).write_parquet(tmp_path / "interactions.parquet")
    content = [str(number) for number in range(30)]
    items = {"item_id": content, "image_path": [None, *content[1:]], "description": [content[0], None, *content[2:]]}
    pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    monkeypatch.setenv("MICROREC_MOVIELENS", str(tmp_path))
    return tmp_path


def test_load_keeps_what_is_liked_and_what_is_missing(movielens):
    dataset = end_to_end.load(movielens)
    ratings = pl.read_parquet(movielens / "interactions.parquet")["rating"]
    assert sum(len(dataset.pairs(part)[0]) for part in (TRAIN, VALIDATION, TEST)) == (ratings >= 4).sum()
    assert {name: (~mask).nonzero()[0].tolist() for name, mask in dataset.present.items()} == {
        "image": [0],
        "text": [1],
    }


def test_end_to_end_compares_with_the_plain_formulation(movielens, capsys):
    end_to_end.main(epochs=1, rounds=1)
    data, slow, ours = json.loads(capsys.readouterr().out)["rows"]
    assert data["value"].startswith("40 users, 30 items")
    assert "GiB extra" in slow["note"]
    assert "x plain" in ours["note"]


def test_end_to_end_without_movielens_says_so(monkeypatch, capsys):
    monkeypatch.setenv("MICROREC_MOVIELENS", "/nowhere")
    end_to_end.main()
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["value"] == "not measured"
    assert "MICROREC_MOVIELENS" in row["note"]
