"""Cards of items: small pictures of whatever a catalogue holds."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.release.cards import LARGEST_THUMBNAIL, TILE, Card, make_cards, picture_sheet, thumbnail
from tests.pipeline.release_factory import make_config

MOVIELENS = Path(os.environ.get("MICROREC_MOVIELENS", Path(__file__).parents[4] / "shared/data/movielens"))


def picture(size=(300, 200), mode="RGB", kind="PNG", **options):
    payload = io.BytesIO()
    Image.new(mode, size, 90).save(payload, kind, **options)
    return payload.getvalue()


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


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


def test_thumbnail_of_noise_is_no_larger_than_it_may_be():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8))
    payload = io.BytesIO()
    noise.save(payload, "PNG")
    assert len(base64.b64decode(thumbnail(payload.getvalue()).partition(",")[2])) <= LARGEST_THUMBNAIL


def test_picture_sheet_has_a_tile_for_what_can_be_decoded():
    sheet = picture_sheet([None, picture((50, 100)), b"no picture", picture((100, 50))])
    assert sheet.places == {1: (0, 0), 3: (0, 1)}
    whole = decoded(sheet.image).convert("L")
    assert whole.size[1] == TILE
    assert whole.getpixel((TILE // 2, TILE // 2)) < 128 < whole.getpixel((2, TILE // 2))  # upright, white beside it
    assert picture_sheet([None, b""]) is None


def test_make_cards_of_an_item_that_has_left_is_its_id(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    items = pl.DataFrame({"item_id": [1, 2], "title": ["Sofa [grey]", None], "image_path": ["a.png", "gone.png"]})
    cards = make_cards(make_config(tmp_path, database=False).open_catalogue(), items, [2, 1, 7, 1])
    assert list(cards) == [2, 1, 7]
    assert cards[1].title == "Sofa [grey]"
    assert cards[1].image
    assert (cards[2], cards[7]) == (Card(id="2", title="2"), Card(id="7", title="7"))
