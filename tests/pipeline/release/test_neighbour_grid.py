"""Neighbour grids as files of their own: whole pictures, whatever titles hold."""

from xml.etree import ElementTree

from pipeline.release.cards import Card
from pipeline.release.neighbour_grid import CELL, LABEL, MARGIN, neighbour_grids
from pipeline.release.report import Neighbourhood, Neighbourhoods, Shown

SVG, PICTURE = "{http://www.w3.org/2000/svg}", "data:image/jpeg;base64,AAAA"


def group(title, *rows):
    neighbourhoods = [
        Neighbourhood(item=item, note="alike", lanes={name: [Shown(id=one, note="cosine 0.90") for one in lane]})
        for item, name, lane in rows
    ]
    return Neighbourhoods(title=title, lead="Why.", rows=neighbourhoods)


def cards(**titles):
    return {name: Card(id=name, title=title, image=PICTURE) for name, title in titles.items()}


def test_neighbour_grids_show_an_item_and_its_neighbours_in_order_from_the_left():
    shown = cards(a="A", b="B", c="C")
    grids = neighbour_grids([group("Most changed since the champion", ("a", "learned vectors", ["c", "b"]))], shown)
    assert list(grids) == ["neighbours-most-changed-since-the-champion"]
    root = ElementTree.fromstring(grids["neighbours-most-changed-since-the-champion"])
    left = {cell.find(f"{SVG}title").text: int(cell.find(f"{SVG}image").get("x")) for cell in root.iter(f"{SVG}g")}
    assert left == {"A (a)": MARGIN, "C (c)": MARGIN + CELL + LABEL, "B (b)": MARGIN + 2 * CELL + LABEL}
    assert max(left.values()) + CELL <= int(root.get("width"))
    assert {image.get("href") for image in root.iter(f"{SVG}image")} == {PICTURE}
    assert [text.text for text in root.iter(f"{SVG}text")].count("cosine 0.90") == 2


def test_neighbour_grids_titles_are_text_whatever_they_hold_and_are_cut():
    shown = cards(a='<b x="1">&\x1b\x00\ufffe', b="A title of more than the characters of a cell")
    [svg] = neighbour_grids([group("Best", ("a", "text alone", ["b"]))], shown).values()
    root = ElementTree.fromstring(svg)  # of what is no XML this raises
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert '<b x="1">&   ' in texts
    assert "A title of more …" in texts
    assert not list(root.iter(f"{SVG}b"))


def test_neighbour_grids_without_any_picture_are_none_and_one_missing_is_a_frame():
    plain = {name: Card(id=name, title=name) for name in "ab"}
    assert neighbour_grids([group("Best", ("a", "x", ["b"])), group("Worst")], plain) == {}
    [svg] = neighbour_grids([group("Best", ("a", "x", ["b"]))], {**plain, **cards(a="A")}).values()
    root = ElementTree.fromstring(svg)
    assert len(list(root.iter(f"{SVG}image"))) == 1
    assert len([one for one in root.iter(f"{SVG}rect") if one.get("fill") == "none"]) == 1
