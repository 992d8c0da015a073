"""The page is whole, safe and self-contained; how it looks was looked at, in a browser."""

import base64
import io
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.dataset.records import Evaluation, ItemQuality
from pipeline.release.charts import MAX_POINTS, Series, line_chart, nice_ticks
from pipeline.release.report import (
    GridItem,
    GridRow,
    ReportContent,
    format_amount,
    thumbnail,
    training_charts,
    write_report,
)
from tests.pipeline.release_factory import make_history

MOVIELENS = Path(os.environ.get("MICROREC_MOVIELENS", Path(__file__).parents[4] / "shared/data/movielens"))
NASTY = '<script>alert("1")</script>&\'"'
VOID = {"meta", "img", "br", "hr", "link", "input"}


def picture(size=(300, 200), mode="RGB", kind="PNG", **options):
    payload = io.BytesIO()
    Image.new(mode, size, 90).save(payload, kind, **options)
    return payload.getvalue()


def content(**changes):
    metrics = {"recall@20": 0.3, "ndcg@20": 0.2, "coverage@20": 0.5}
    whole = ReportContent(
        run_id="r1",
        release_digest="ab" * 32,
        created="2026-11-24 02:00 UTC",
        config={"model": {"backbone": "lightgcn", "embedding_dim": 64}, "split": {"strategy": "random"}},
        counts={"users": 6040, "items": 3883},
        history=make_history(),
        metrics=Evaluation(
            validation=metrics,
            test=metrics,
            slices={"items without image": metrics},
            popularity={"recall@20": 0.2, "ndcg@20": 0.25, "coverage@20": 0.01},
        ),
        seconds={"prepare": 1.5, "train": 60.0},
        best_epoch=4,
        grid=[
            GridRow(
                item=GridItem(id="1", title="Red shoe", image=thumbnail(picture()), note="interactions"),
                neighbours={
                    "image": [GridItem(id="2", title="Blue shoe", image=thumbnail(picture()), note="cosine 0.9")],
                    "text": [],
                    "learned": [GridItem(id="3", title="Sock")],
                },
            )
        ],
    )
    return replace(whole, **changes)


class Page(HTMLParser):
    """Collects tags and text, and insists that every tag is closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open and self.open[-1] != "style":
            self.text.append(data.strip())


def written(tmp_path, **changes):
    write_report(tmp_path / "report.html", content(**changes))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_is_self_contained(tmp_path):
    text = written(tmp_path)
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe", "object"}]
    references = [value for _, given in page.tags for name, value in given.items() if name in {"src", "href", "data"}]
    assert references
    assert all(value.startswith("data:image/jpeg;base64,") for value in references)
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert "@import" not in text


def test_report_is_accessible(tmp_path):
    page = Page(written(tmp_path))
    assert all(given.get("alt") for tag, given in page.tags if tag == "img")
    assert all(given.get("aria-label") for tag, given in page.tags if given.get("role") == "img")
    assert sum(tag == "table" for tag, _ in page.tags) == sum(tag == "caption" for tag, _ in page.tags)
    assert all("scope" in given for tag, given in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    assert sum(tag == "h1" for tag, _ in page.tags) == 1


def test_report_shows_metrics_against_popularity(tmp_path):
    text = " ".join(Page(written(tmp_path)).text)
    assert "Test 0.3000 0.2000 0.5000" in text
    assert "Gain over popularity +50 % \u221220 % +4900 %" in text
    assert "Items without image 0.3000" in text
    assert "new items" not in text


def test_report_shows_neighbours_by_every_modality(tmp_path):
    text = " ".join(Page(written(tmp_path)).text)
    for part in ("Red shoe", "By image Blue shoe cosine 0.9", "By text No neighbours", "By learned vector S Sock"):
        assert part in text


def test_report_shows_new_and_similar_items_beside_content_alone(tmp_path):
    alone = ItemQuality(
        new_items={"items": 2.0, "catalogue_share": 0.2, "slot_share@20": 0.17}, similar_items={"same_kind@10": 0.8}
    )
    metrics = Evaluation(
        new_items={"items": 2.0, "catalogue_share": 0.2, "slot_share@20": 0.001},
        similar_items={"same_kind@10": 0.41},
        cold_open={"recall@20": 0.003},
        yardsticks={NASTY: alone},
    )
    config = {"evaluation": {"kind": "product_type"}}
    text = " ".join(Page(written(tmp_path, metrics=metrics, config=config)).text)
    assert f"learned vectors 0.10 % 0.30 % {NASTY} alone 17.0 % – share of the catalogue 20.0 %" in text
    assert "are of its kind (product_type)?" in text
    assert f"learned vectors 41.0 % {NASTY} alone 80.0 %" in text


def test_report_of_a_run_without_such_measures_has_no_such_section(tmp_path):
    assert "New items and similar items" not in written(tmp_path)


def test_report_escapes_everything_of_the_user(tmp_path):
    item = GridItem(id=NASTY, title=NASTY, image=None, note=NASTY)
    changes = {
        "run_id": NASTY,
        "config": {NASTY: NASTY, "list": [NASTY]},
        "counts": {NASTY: 1},
        "metrics": Evaluation(test={"recall@20": 0.1}, slices={NASTY: {"recall@20": 0.1}}),
        "seconds": {NASTY: 1.0},
        "grid": [GridRow(item=item, neighbours={NASTY: [item]})],
    }
    page = Page(written(tmp_path, **changes))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert page.text.count(NASTY) >= 7
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]


def test_report_picture_that_is_no_data_uri_is_not_loaded(tmp_path):
    row = GridRow(item=GridItem(id="1", title="a", image="https://elsewhere.example/x.png"), neighbours={})
    text = written(tmp_path, grid=[row])
    assert "elsewhere" not in text


def test_report_hides_passwords(tmp_path):
    text = written(tmp_path, config={"mlflow": {"tracking_uri": "postgresql+psycopg2://me:s3cret@db/x"}})
    assert "s3cret" not in text
    assert "me:***@db" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": Evaluation()},
        {
            "metrics": Evaluation(),
            "history": [],
            "best_epoch": None,
            "grid": [],
            "seconds": {},
            "counts": {},
            "config": {},
        },
        {"history": make_history(validated=False), "best_epoch": 0},
        {"history": make_history()[:1]},
        {"history": [replace(make_history()[0], loss=float("nan"))]},
    ],
    ids=["nothing measured", "nothing at all", "no validation", "one epoch", "broken loss"],
)
def test_report_of_less_than_everything_is_still_a_page(tmp_path, changes):
    page = Page(written(tmp_path, **changes))
    assert "The run" in page.text
    assert "nan" not in " ".join(page.text).lower().split()


def test_report_same_content_gives_the_same_bytes(tmp_path):
    assert written(tmp_path) == written(tmp_path)


def test_thumbnail_keeps_the_shape_within_the_box():
    uri = thumbnail(picture((400, 100)), size=80)
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (80, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_thumbnail_reads_every_mode(mode):
    assert thumbnail(picture(mode=mode))


def test_thumbnail_transparent_becomes_white():
    payload = io.BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(payload, "PNG")
    body = thumbnail(payload.getvalue()).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(body))).getpixel((5, 5)) == (255, 255, 255)


def test_thumbnail_turned_by_exif_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # quarter turn
    body = thumbnail(picture((60, 30), kind="JPEG", exif=exif), size=60).partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (30, 60)


@pytest.mark.parametrize("payload", [b"", b"no picture", picture(kind="JPEG")[:300], b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_thumbnail_broken_picture_is_none(payload):
    assert thumbnail(payload) is None


@given(st.binary(max_size=200), st.integers(0, 400))
def test_thumbnail_damaged_bytes_never_raise(noise, place):
    whole = picture((40, 40), kind="GIF")
    thumbnail(whole[:place] + noise + whole[place + len(noise) :])


@pytest.mark.skipif(not MOVIELENS.exists(), reason="the MovieLens posters are not on this machine")
def test_thumbnail_real_posters_are_small():
    posters = sorted((MOVIELENS / "images").glob("*.jpg"))[:20]
    sizes = [len(thumbnail(poster.read_bytes())) for poster in posters]
    assert len(sizes) == 20
    assert max(sizes) < 20_000


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


@pytest.mark.parametrize(
    ("value", "spelled"),
    [(1234567, "1\u202f234\u202f567"), (0.123456, "0.1235"), (3.0, "3"), ("x", "x"), (True, "True")],
)
def test_format_amount_is_readable(value, spelled):
    assert format_amount(value) == spelled
