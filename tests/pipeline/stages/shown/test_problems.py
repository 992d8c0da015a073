"""What is odd in the content, with the items that have it."""

from types import SimpleNamespace

from pipeline.stages.shown.problems import MOST, data_problems
from pipeline.stages.validation_report import ContentReport, PictureProblem, SameContent


def problems(**modalities):
    return {one.title: one.items for one in data_problems(SimpleNamespace(modalities=modalities))}


def test_data_problems_name_the_items_and_their_pictures():
    broken = [PictureProblem(item_id=row, image_path=f"{row}.jpg", problem="cut") for row in range(9)]
    image = ContentReport(
        content="image",
        usable=5,
        missing=1,
        missing_items=[7],
        unreadable=9,
        unreadable_items=broken,
        not_found=0,
        same=SameContent(items=4, first=[1, 2, 3]),
    )
    found = problems(image=image)
    assert list(found) == [
        "image: 9 pictures unreadable",
        "image: 1 item without any",
        "image: 4 items have the very same content",
    ]
    assert [(one.id, one.note) for one in found["image: 9 pictures unreadable"]] == [
        (row, f"{row}.jpg") for row in range(MOST)
    ]
    assert [one.id for one in found["image: 4 items have the very same content"]] == [1, 2, 3]


def test_data_problems_long_texts_that_are_averaged_are_none():
    options = {"content": "text", "usable": 5, "missing": 0, "missing_items": [], "long": 2, "long_items": [1, 2]}
    assert list(problems(text=ContentReport(**options, cuts=True))) == ["text: 2 texts longer than the encoder reads"]
    assert problems(text=ContentReport(**options, cuts=False)) == {}
