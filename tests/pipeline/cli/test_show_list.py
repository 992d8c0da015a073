"""Lists of items for people."""

import io

import pytest

from pipeline.cli.show import show_list
from pipeline.serving.lookup import Listed, Owned, Reason, Recommendations, Similar
from pipeline.terminal import Terminal

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
    show_list(result, Terminal(file=out, width=100))
    assert said in out.getvalue().splitlines()[-1]


@pytest.mark.parametrize("odd", ["Tee [/b] x", "[red]Tee[/red]", "[bold]", "Sofa [grey]", "[/x]", "a :smile: b"])
def test_show_list_shows_ids_and_titles_as_they_stand(odd):
    why = Reason(parts={odd: 0.5}, nearest={"all": [Owned(item_id="o", title=odd)]})
    out = io.StringIO()
    item = Listed(rank=1, item_id=f"{odd} id", title=f"{odd} title", score=0.5, why=why)
    show_list(Similar(release="r", item_id="i", items=[item]), Terminal(file=out, width=200))
    assert all(f"{odd}{after}" in out.getvalue() for after in (" id", " title", " +0.5"))
    assert f"nearest: {odd}" in out.getvalue()
