"""What `validate` found odd in the content, with some of the items that have it."""

from collections.abc import Iterator
from typing import Any

from pipeline.release.report import Problem, Shown
from pipeline.stages.validation_report import ContentReport, ValidationReport

MOST = 6
MANY_SAME = 3


def data_problems(report: ValidationReport) -> list[Problem]:
    """Contents that are missing, broken, longer than what is read, or the same for many items."""
    return [one for name, found in report.modalities.items() for one in _of_modality(name, found) if one.items]


def _of_modality(name: str, found: ContentReport) -> Iterator[Problem]:
    for kind, count, problems in found.picture_problems():
        items = [Shown(id=one.item_id, note=one.image_path) for one in problems[:MOST]]
        yield Problem(title=f"{name}: {_counted(count, 'picture')} {kind}", items=items)
    yield Problem(title=f"{name}: {_counted(found.missing, 'item')} without any", items=_shown(found.missing_items))
    if found.long and found.cuts:
        title = f"{name}: {_counted(found.long, 'text')} longer than the encoder reads"
        yield Problem(title=title, items=_shown(found.long_items))
    if found.same and found.same.items >= MANY_SAME:
        title = f"{name}: {found.same.items:,} items have the very same content"
        yield Problem(title=title, items=_shown(found.same.first))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _shown(ids: list[Any]) -> list[Shown]:
    return [Shown(id=one) for one in ids[:MOST]]
