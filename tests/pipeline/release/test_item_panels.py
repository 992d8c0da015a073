from dataclasses import replace

import pytest

from pipeline.dataset.records import Evaluation, ItemQuality
from pipeline.release.item_panels import new_items_panel, percent, similar_items_panel

MEASURED = Evaluation(
    test={"recall@20": 0.18},
    cold_open={"recall@20": 0.0009},
    warm={"recall@20": 0.1853},
    warm_alone={"recall@20": 0.1855},
    new_items={"items": 2174.0, "catalogue_share": 0.2194, "slot_share@20": 0.00001, "users": 27681.0},
    similar_items={"same_kind@10": 0.412, "co_purchases@10": 0.031, "items": 9907.0, "pairs": 85000.0},
    yardsticks={
        "text": ItemQuality(
            cold_open={"recall@20": 0.168},
            new_items={"items": 2174.0, "catalogue_share": 0.2194, "slot_share@20": 0.171, "users": 27681.0},
            similar_items={"same_kind@10": 0.8, "co_purchases@10": 0.05},
        ),
        "image": ItemQuality(),
    },
)


def test_new_items_panel_has_the_model_first_beside_each_modality_and_the_catalogue():
    panel = new_items_panel(MEASURED)
    assert panel.columns == ["places in the top 20", "purchases found"]
    assert panel.rows == {
        "learned vectors": ["0.0010 %", "0.09 %"],
        "text alone": ["17.1 %", "16.8 %"],
        "image alone": ["–", "–"],
        "share of the catalogue": ["21.9 %", ""],
    }
    assert panel.lead.startswith("2,174 items, 21.9 % of the catalogue,")
    assert "0.1853 with the new ones in the contest, 0.1855 without them" in panel.note


def test_new_items_panel_nobody_bought_one_has_places_only():
    panel = new_items_panel(replace(MEASURED, cold_open=None, warm=None, warm_alone=None))
    assert panel.columns == ["places in the top 20"]
    assert {len(cells) for cells in panel.rows.values()} == {1}
    assert "purchases" not in panel.lead
    assert panel.note == ""


def test_new_items_panel_without_new_items_is_none():
    assert new_items_panel(Evaluation()) is None
    assert new_items_panel(replace(MEASURED, new_items={**MEASURED.new_items, "items": 0.0})) is None


def test_similar_items_panel_names_what_the_catalogue_calls_kind():
    panel = similar_items_panel(MEASURED, "product_type_name")
    assert panel.columns == ["same kind", "co-purchases found"]
    assert list(panel.rows.values()) == [["41.2 %", "3.1 %"], ["80.0 %", "5.0 %"], ["–", "–"]]
    assert "of its kind (product_type_name)" in panel.lead


@pytest.mark.parametrize(("name", "left"), [("same_kind@10", "co-purchases found"), ("co_purchases@10", "same kind")])
def test_similar_items_panel_has_columns_of_what_was_measured(name, left):
    similar = {key: value for key, value in MEASURED.similar_items.items() if key != name}
    assert similar_items_panel(replace(MEASURED, similar_items=similar)).columns == [left]


def test_similar_items_panel_nothing_measured_is_none():
    assert similar_items_panel(Evaluation()) is None
    assert similar_items_panel(replace(MEASURED, similar_items={"items": 3.0, "pairs": 0.0})) is None


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, "0.0 %"), (1.0, "100.0 %"), (0.0123, "1.2 %"), (0.00123, "0.12 %"), (0.00001, "0.0010 %"), (None, "–")],
)
def test_percent_small_shares_keep_their_figures(share, told):
    assert percent(share) == told
