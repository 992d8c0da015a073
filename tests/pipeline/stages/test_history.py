import pytest

from pipeline.errors import StoreError
from pipeline.stages.history import as_history, as_rows
from tests.pipeline.release_factory import make_history


def test_as_history_inverts_as_rows():
    history = make_history()
    assert as_history(as_rows(history), "here") == history


def test_as_rows_have_the_metrics_beside_the_rest():
    first, second = as_rows(make_history())[:2]
    assert "recall@20" not in first
    assert (second["epoch"], second["recall@20"]) == (2, 0.04)
    assert "validation" not in second


@pytest.mark.parametrize("damaged", [{}, 3, None, [3], [{}], [{"epoch": "one"}]])
def test_as_history_damaged_is_named(damaged):
    with pytest.raises(StoreError, match=r"history\.json is damaged"):
        as_history(damaged, "history.json")
