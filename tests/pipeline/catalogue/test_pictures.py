"""Pictures: found within the image root, read up to a size, decoded within a bound of pixels."""

import io
import os
import threading
import unicodedata

import numpy as np
import polars as pl
import pytest
from PIL import Image
from upath import UPath

from features.pixels import PixelBudget
from pipeline.catalogue import pictures as module
from pipeline.catalogue.listing import list_pictures
from pipeline.catalogue.pictures import OutsideError, Pictures, Problem, check_pictures
from tests.pipeline.catalogue.cases import ITEMS, checked, items_of, shop, write


def picture(shade=0):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path):
    """A folder of pictures with one beside it, and links in and out."""
    (tmp_path / "images/sub").mkdir(parents=True)
    for number, name in enumerate(["outside.png", "images/a.png", "images/sub/b.png"]):
        (tmp_path / name).write_bytes(picture(number))
    (tmp_path / "images/in.png").symlink_to("a.png")
    (tmp_path / "images/out.png").symlink_to("../outside.png")
    (tmp_path / "images/up").symlink_to(tmp_path)
    return tmp_path / "images"


INSIDE = ["a.png", "sub/b.png", "sub/../a.png", "in.png", "./a.png", "../images/a.png", "{root}/a.png"]
OUTSIDE = ["../outside.png", "sub/../../outside.png", "out.png", "up/outside.png", "{root}/../outside.png"]


@pytest.mark.parametrize("location", INSIDE)
def test_what_lies_inside_is_read(root, location):
    assert Pictures(UPath(root)).read(location.format(root=root)).startswith(b"\x89PNG")


@pytest.mark.parametrize("location", [*OUTSIDE, "/etc/hostname", "s3://bucket/a.png", "../absent.png"])
def test_what_lies_outside_is_not_read_unless_it_may_be(root, location):
    with pytest.raises(OutsideError, match="outside catalogue"):
        Pictures(UPath(root)).read(location.format(root=root))
    if location in OUTSIDE:
        assert Pictures(UPath(root), outside=True).read(location.format(root=root)) == picture(0)


def test_root_that_is_a_link_holds_what_it_leads_to(root):
    (root.parent / "link").symlink_to(root)
    assert Pictures(UPath(root.parent / "link")).read("a.png") == picture(1)


@pytest.mark.parametrize(
    ("root", "location", "held"),
    [
        ("s3://bucket/in", "a.png", True),
        ("s3://bucket/in", "s3://bucket/in/a.png", True),
        ("s3://bucket/in", "../a.png", False),
        ("s3://bucket/in", "s3://bucket/inner/a.png", False),
        ("s3://bucket/in", "s3://other/a.png", False),
    ],
)
def test_what_lies_inside_of_a_prefix(root, location, held):
    pictures = Pictures(UPath(root))
    if held:
        assert str(pictures.path(location)) == "s3://bucket/in/a.png"
    else:
        with pytest.raises(OutsideError):
            pictures.path(location)


def test_validate_counts_and_names_what_lies_outside_and_extract_leaves_it_out(root):
    paths = ["a.png", "../outside.png", "out.png", str(root.parent / "outside.png"), "absent.png", ""]
    write(root / "items.jsonl", {**ITEMS, "image_path": paths})
    modalities = {"image": {"encoder": "efficientnet-lite0"}}
    config = shop(root, items="items.jsonl", modalities=modalities)
    report = checked(config)
    image = report["modalities"]["image"]
    assert (image["usable"], image["outside"], image["not_found"], image["missing"]) == (1, 3, 1, 1)
    assert [entry["image_path"] for entry in image["outside_items"]] == paths[1:4]
    assert any("3 pictures lie outside catalogue.image_root" in line for line in report["warnings"])
    items = config.open_catalogue().scan_items().collect()
    listing = list_pictures(config.open_catalogue().pictures(), items["image_path"])
    assert listing.filter(pl.col("problem").is_null())["image_path"].to_list() == ["a.png"]
    allowed = shop(root, "items.jsonl", catalogue={"images_outside_root": True}, modalities=modalities)
    assert checked(allowed)["modalities"]["image"]["usable"] == 4
    assert items_of(allowed)["image_path"][5] == ""


@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_not_opened(root):
    os.mkfifo(root / "pipe.png")
    (root / "zero.png").symlink_to("/dev/zero")
    names = ["pipe.png", "sub", "zero.png", "zero.png/x"]
    assert [one.problem for one in check_pictures(Pictures(UPath(root), outside=True), names)] == [
        Problem.NOT_FOUND
    ] * 4


def test_file_that_is_too_large_is_not_read(root, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", len(picture()) - 1)
    (one,) = check_pictures(Pictures(UPath(root)), ["a.png"])
    assert (one.problem, "bytes are more than" in one.told) == (Problem.NOT_FOUND, True)


def test_object_that_is_too_large_is_read_no_further(monkeypatch):
    """The bytes asked for are bounded before they are sent."""
    store = UPath("memory://pictures")
    (store / "large.png").write_bytes(picture() + b"x" * 1000)
    (store / "a.png").write_bytes(picture())
    (store / "empty.png").write_bytes(b"")
    monkeypatch.setattr(module, "LARGEST", len(picture()))
    asked, whole = [], type(store.fs).cat_file
    monkeypatch.setattr(type(store.fs), "cat_file", lambda *args, **given: asked.append(given) or whole(*args, **given))
    assert Pictures(store).read("a.png") == picture()
    assert Pictures(store).read("empty.png") == b""
    with pytest.raises(OSError, match="bytes are more than"):
        Pictures(store).read("large.png")
    assert asked == [{"start": 0, "end": len(picture()) + 1}] * 3


@pytest.mark.parametrize("there", ["NFC", "NFD"])
@pytest.mark.parametrize("named", ["NFC", "NFD"])
def test_name_in_another_unicode_form_is_found(root, there, named):
    name = "Blümchen-é/한글.png"
    file = root / unicodedata.normalize(there, name)
    file.parent.mkdir()
    file.write_bytes(picture(9))
    assert Pictures(UPath(root)).read(unicodedata.normalize(named, name)) == picture(9)


@pytest.mark.parametrize("name", ["A.PNG", "sub/B.png", "Á.png"])
def test_near_miss_is_named(root, name):
    (root / "á.png").write_bytes(picture())
    (one,) = check_pictures(Pictures(UPath(root)), [name])
    assert one.problem is Problem.NOT_FOUND
    assert one.told.endswith(f"there is {name.rpartition('/')[2].lower()!r}")


def test_pixels_in_flight_stay_within_the_bound():
    budget, lock, held, most = PixelBudget(100), threading.Lock(), [0], [0]

    def decode(pixels):
        with budget.holding(pixels):
            with lock:
                held[0] += pixels
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.002)
            with lock:
                held[0] -= pixels

    threads = [threading.Thread(target=decode, args=(40,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 80
    with budget.holding(1000):  # alone, a picture may have more
        assert budget.limit == 100


def test_floats_in_a_picture_are_grey(root):
    for top in (1.0, 200.0, 65_000.0):
        Image.fromarray(np.linspace(0, top, 64, dtype=np.float32).reshape(8, 8)).save(root / "f.tiff")
        (one,) = check_pictures(Pictures(UPath(root)), ["f.tiff"])
        assert one.problem is None
    Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32)).save(root / "nan.tiff")
    (one,) = check_pictures(Pictures(UPath(root)), ["nan.tiff"])
    assert one.problem is Problem.UNREADABLE
