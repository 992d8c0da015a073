"""Lists of items for people."""

import io

import pytest
from rich.console import Console

from pipeline.cli.show import show_list
from pipeline.serving.lookup import Listed, Recommendations, Similar

ITEM = Listed(rank=1, item_id="item-1", title="Red shoe", score=0.5)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (Recommendations(release="r", user_id="u", left_out=3, items=[ITEM]), "left out: 3 that the user has already;"),
        (Recommendations(release="r", user_id="u", left_out=None, items=[ITEM]), "nothing is left out"),
        (Recommendations(release="r", user_id="u", left_out=0, items=[ITEM]), "Red shoe"),
        (Similar(release="r", item_id="i", items=[ITEM]), "Red shoe"),
    ],
)
def test_show_list_ends_with_what_is_left_out(result, said):
    out = io.StringIO()
    show_list(result, Console(file=out, width=100))
    assert said in out.getvalue().splitlines()[-1]
