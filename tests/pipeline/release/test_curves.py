"""The curves of a training."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from pipeline.release.charts import MAX_POINTS, Series, line_chart, nice_ticks
from pipeline.release.curves import training_charts
from tests.pipeline.release_factory import make_history


def test_training_charts_are_valid_svg_with_words_for_those_who_cannot_see():
    charts = training_charts(make_history(), best_epoch=4)
    assert list(charts) == ["Training loss", "Contrastive term", "Validation"]
    for svg in charts.values():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "epoch" in root.get("aria-label")
    assert "total from 1 at epoch 1 to 0.1667 at epoch 6" in charts["Training loss"]


def test_line_chart_long_history_is_thinned_but_keeps_its_ends():
    points = [(epoch, 1 / epoch) for epoch in range(1, 5001)]
    svg = line_chart("t", "d", [Series("loss", points)], x_label="epoch")
    drawn = ElementTree.fromstring(svg).find("{*}polyline").get("points").split()
    assert len(drawn) == MAX_POINTS
    assert [drawn[0].split(",")[0], drawn[-1].split(",")[0]] == ["48.0", "426.0"]


def test_line_chart_nothing_to_draw_is_empty():
    assert line_chart("t", "d", [Series("a", []), Series("b", [(1, float("inf"))])], x_label="epoch") == ""


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_nice_ticks_cover_the_range_evenly(low, spread):
    ticks = nice_ticks(low, low + spread, 4)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + 1e-6 * step
    assert ticks[-1] >= low + spread - 1e-2 * step
    assert 2 <= len(ticks) <= 7
