"""Lists as pages with pictures."""

import io

import polars as pl
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.serving.list_page import write_list
from pipeline.serving.lookup import Listed, Reason, Recommendations, Similar
from tests.pipeline.release_factory import make_config

NASTY = "<script>alert(1)</script> [/x]"


@pytest.fixture
def catalogue(tmp_path):
    payload = io.BytesIO()
    Image.new("RGB", (20, 20), 90).save(payload, "PNG")
    (tmp_path / "a.png").write_bytes(payload.getvalue())
    pl.DataFrame({"item_id": [1, 2], "title": ["Sofa [grey]", NASTY], "image_path": ["a.png", None]}).write_parquet(
        tmp_path / "items.parquet"
    )
    return make_config(tmp_path, database=False).open_catalogue()


def test_write_list_of_similar_items_shows_the_item_asked_for_too(catalogue, tmp_path):
    found = Similar(release="r", item_id="1", items=[Listed(rank=1, item_id=2, title=NASTY, score=0.5)])
    write_list(tmp_path / "list.html", catalogue, found)
    page = (tmp_path / "list.html").read_text()
    assert '<h2 id="list">Similar to Sofa [grey]</h2>' in page
    assert page.count("data:image/jpeg") == 1
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [/x]" in page
    assert "0.5000" in page


def test_write_list_of_recommendations_says_why_and_what_is_left_out(catalogue, tmp_path):
    why = Reason(parts={"image": -0.25}, nearest={})
    items = [Listed(rank=1, item_id=1, title=None, score=0.5, why=why), Listed(rank=2, item_id=9, title=None, score=0)]
    found = Recommendations(release="r", user_id=NASTY, left_out=3, items=items)
    write_list(tmp_path / "list.html", catalogue, found)
    page = (tmp_path / "list.html").read_text()
    assert "For shopper &lt;script" in page
    assert "3 that the shopper already has are left out" in page
    assert "image -0.250" in page
    assert "No picture of 9" in page  # it has left the catalogue


def test_write_list_into_no_folder_is_one_message(catalogue, tmp_path):
    with pytest.raises(InputError, match=r"--html .*none/list.html: No such file or directory; name a file"):
        write_list(tmp_path / "none" / "list.html", catalogue, Similar(release="r", item_id="1", items=[]))
