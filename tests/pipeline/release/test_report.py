"""The page is whole, safe and self-contained; how it looks was looked at, in a browser."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from pipeline.dataset.records import BesideChampion, Evaluation, Figure, Group, ItemQuality
from pipeline.release.cards import Card, Sheet
from pipeline.release.page import format_amount, format_memory
from pipeline.release.report import (
    CatalogueMap,
    ContentWeights,
    Effort,
    InputContent,
    InputRow,
    MapKind,
    Neighbourhood,
    Neighbourhoods,
    Place,
    Problem,
    ReportContent,
    Shopper,
    Shown,
    Suggestion,
    write_report,
)
from pipeline.release.space import DriftRow, Space
from pipeline.release.verdict import Row, Verdict
from tests.pipeline.release_factory import make_history

NASTY = '<script>alert("1")</script>&\'"'
VOID = {"meta", "img", "br", "hr", "link", "input"}
IMAGE = "data:image/jpeg;base64," + base64.b64encode(b"picture").decode()
FIGURES = {name: Figure(value=0.3, users=50, interval=(0.2, 0.4)) for name in ("hit@20", "recall@20", "ndcg@20")}


def content(name="Sofa [grey]", **changes):
    """Everything there is, with `name` wherever the user's data stands."""
    metrics = {"recall@20": 0.3, "ndcg@20": 0.2, "hit@20": 0.37, "coverage@20": 0.5, "users": 50.0}
    found = {"model": FIGURES, "popularity": FIGURES, name: FIGURES}
    whole = ReportContent(
        run_id=name,
        release_digest="ab" * 32,
        created="2026-11-24 02:00 UTC",
        config={"model": {"backbone": name, "embedding_dim": 64}, "split": {"strategy": "time"}, name: [name]},
        counts={"users": 6040, "items": 3883, name: 1},
        history=make_history(),
        metrics=Evaluation(
            validation=metrics,
            test=metrics,
            slices={name: metrics},
            popularity={**metrics, "hit@20": 0.19},
            new_items={"items": 2.0, "catalogue_share": 0.2, "slot_share@20": 0.001},
            yardsticks={name: ItemQuality(new_items={"items": 2.0, "catalogue_share": 0.2, "slot_share@20": 0.17})},
            groups=[
                Group(name="all", of="all", users=50, interactions=70, found=found),
                Group(name=name, of="kind", users=40, interactions=60, found=found),
            ],
            beside_champion=BesideChampion(
                run_id=name, interactions=70, model=FIGURES, champion=FIGURES, difference=FIGURES
            ),
        ),
        effort={"prepare": Effort(seconds=1.5), name: Effort(seconds=60.0, peak_memory_bytes=3 << 30)},
        best_epoch=4,
        input=InputContent(
            lead="Compared.",
            rows=[InputRow(name=name, then="1", now="2", allowed="3", verdict="ok")],
            warnings=[name],
            problems=[Problem(title=name, items=[Shown(id=2, note=name)])],
        ),
        verdict=Verdict(
            run_id=name,
            verdict="refused",
            metric="recall@20",
            rows=[Row(name=name, verdict="refused", figure=0.5, interval=(0.4, 0.6), note=name)],
        ),
        cards={1: Card(id=name, title=name, image=IMAGE), 2: Card(id="2", title=name)},
        neighbours=[
            Neighbourhoods(
                title="Best", lead=name, rows=[Neighbourhood(item=1, note=name, lanes={name: [Shown(id=2, note=name)]})]
            )
        ],
        shoppers=[
            Shopper(id=name, count=9, history=[1], suggestions=[Suggestion(id=2, taken=True, parts={name: 0.5})])
        ],
        map=CatalogueMap(
            places=[Place(x=0.1, y=0.9, title=name, kind=0), Place(x=0.5, y=0.5, title=name, kind=-1)],
            kinds=[MapKind(number=0, name=name, count=5, x=0.2, y=0.3)],
            column=name,
            of=100,
            sheet=Sheet(image=IMAGE, places={0: (0, 0)}),
        ),
        weights=ContentWeights(attention={name: (0.4, float("nan"))}, taste={name: 0.2}, parts={name: 1.0}, lists=1),
        space=Space(first=name, champion=name),
        drift={"all": DriftRow(count=3, cosine_median=0.9)},
    )
    return replace(whole, **changes)


def nothing():
    return ReportContent(
        run_id="r",
        release_digest="ab" * 32,
        created="now",
        config={},
        counts={},
        history=[],
        metrics=Evaluation(),
        effort={},
        best_epoch=None,
    )


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


def written(tmp_path, whole=None):
    write_report(tmp_path / "report.html", content() if whole is None else whole)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_refers_to_nothing_outside_itself(tmp_path):
    text = written(tmp_path)
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe", "object"}]
    references = [value for _, given in page.tags for name, value in given.items() if name in {"src", "href", "data"}]
    places = {given["id"] for _, given in page.tags if "id" in given}
    assert any(value.startswith("data:image/") for value in references)
    assert all(value.startswith("data:image/") or value[1:] in places for value in references)
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"url\((.{11})", text)) == {"data:image/"}
    assert "@import" not in text


def test_report_can_be_read_by_a_screen_reader(tmp_path):
    page = Page(written(tmp_path))
    assert all(given.get("alt") for tag, given in page.tags if tag == "img")
    assert all(given.get("aria-label") for tag, given in page.tags if given.get("role") in {"img", "region"})
    assert sum(tag == "table" for tag, _ in page.tags) == sum(tag == "caption" for tag, _ in page.tags)
    assert all("scope" in given for tag, given in page.tags if tag == "th")
    assert ("html", {"lang": "en"}) in page.tags
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.tags}
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    labelled = [given["aria-labelledby"] for _, given in page.tags if "aria-labelledby" in given]
    assert set(labelled) <= {given.get("id") for _, given in page.tags}


def test_report_says_in_plain_words_what_shoppers_find(tmp_path):
    text = " ".join(Page(written(tmp_path)).text)
    assert "Of 100 shoppers, 37 find something they later bought among 20 suggestions; with bestsellers 19." in text
    assert "✕ Quality gate: refused" in text


def test_report_shows_figures_with_interval_and_number_of_shoppers(tmp_path):
    text = " ".join(Page(written(tmp_path)).text)
    assert "this release 30.0 % 20.0 to 40.0 % 30.0 % 20.0 to 40.0 % 0.3000 0.2000 to 0.4000 50" in text
    assert "Sofa [grey] 40 30.0 % 20.0 to 40.0 %" in text
    assert "70 purchases of the test part" in text


def test_report_shows_pictures_parts_of_scores_and_what_was_bought(tmp_path):
    text = " ".join(Page(written(tmp_path)).text)
    assert "✓ bought" in text
    assert "Score: Sofa [grey] +0.500" in text
    assert "By Sofa [grey]" in text
    assert "prepare 1.5 – Sofa [grey] 60.0 3.0 GiB" in text


def test_report_ends_with_the_curves_after_the_glossary(tmp_path):
    text = written(tmp_path)
    assert text.index('id="run"') < text.index('id="glossary"') < text.index('id="training"')


def test_report_escapes_everything_of_the_user(tmp_path):
    text = written(tmp_path, content(name=NASTY))
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    assert sum(NASTY in part for part in page.text) >= 30
    assert "<script" not in text


def test_report_picture_that_is_no_data_uri_is_not_loaded(tmp_path):
    cards = {one: Card(id="1", title="a", image="https://elsewhere.example/x.png") for one in (1, 2)}
    assert "elsewhere" not in written(tmp_path, content(cards=cards))


def test_report_hides_passwords(tmp_path):
    config = {"mlflow": {"tracking_uri": "postgresql+psycopg2://me:s3cret@db/x"}}
    text = written(tmp_path, content(config=config))
    assert "s3cret" not in text
    assert "***@db" in text


@pytest.mark.parametrize(
    "whole",
    [
        nothing(),
        replace(nothing(), history=make_history(validated=False), best_epoch=0),
        replace(nothing(), metrics=Evaluation(test={"recall@20": 0.1, "hit@20": 0.2}, popularity={"recall@20": 0.1})),
        content(map=None, shoppers=[], neighbours=[], weights=ContentWeights()),
        content(history=[replace(make_history()[0], loss=float("nan"))]),
    ],
    ids=["nothing at all", "no validation", "an earlier version's metrics", "no content", "broken loss"],
)
def test_report_of_less_than_everything_is_still_a_page(tmp_path, whole):
    page = Page(written(tmp_path, whole))
    assert "The run" in page.text
    assert "nan" not in " ".join(page.text).lower().split()
    places = {given["id"] for _, given in page.tags if "id" in given}
    assert all(given["href"][1:] in places for tag, given in page.tags if tag == "a")


def test_report_same_content_gives_the_same_bytes(tmp_path):
    assert written(tmp_path) == written(tmp_path)


@pytest.mark.parametrize(
    ("value", "spelled"),
    [(1234567, "1\u202f234\u202f567"), (0.123456, "0.1235"), (3.0, "3"), ("x", "x"), (True, "True")],
)
def test_format_amount_is_readable(value, spelled):
    assert format_amount(value) == spelled


def test_format_memory_is_readable():
    assert (format_memory(3 << 29), format_memory(5 << 20)) == ("1.5 GiB", "5 MiB")
