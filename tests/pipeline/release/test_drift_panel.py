"""The drift table for people."""

from pipeline.release.drift_panel import COLUMNS, drift_panel
from pipeline.release.space import DriftRow, Space

WHOLE = DriftRow(
    count=1234, cosine_median=0.98765, cosine_tail=0.9, neighbours_kept=0.5, recommendations_kept=0.25, norm_ratio=1.5
)


def test_drift_panel_has_a_row_for_each_slice_with_something_in_it():
    space = Space(first="r1", champion="r2", score_scale=1.25)
    panel = drift_panel(space, {"all": WHOLE, "content": DriftRow(count=0), "users": DriftRow(count=3)})
    assert list(panel.rows) == ["all items", "users"]
    assert panel.rows["all items"] == ["1\u202f234", "0.988", "0.900", "50.0 %", "25.0 %", "1.500"]
    assert panel.rows["users"] == ["3", *["–"] * (len(COLUMNS) - 1)]
    assert "space of r2, in the line of r1" in panel.lead
    assert "1.250 times as large" in panel.lead


def test_drift_panel_of_a_first_release_says_why_it_is_one():
    panel = drift_panel(Space(first="r1", reason="there was no champion"), {})
    assert "begins a line: there was no champion" in panel.lead
    assert (panel.columns, panel.rows) == ([], {})


def test_drift_panel_without_a_space_is_none():
    assert drift_panel(None, {}) is None
