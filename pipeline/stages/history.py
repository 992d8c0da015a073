"""The history of a training, an epoch a row, as it stands in JSON: validation metrics beside the rest."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from upath import UPath

from model.epoch import EpochReport
from pipeline import stages
from pipeline.documents import as_record
from pipeline.run import Run
from pipeline.storage.files import read_json

HISTORY = "history.json"
_OWN = {field.name for field in dataclasses.fields(EpochReport)} - {"validation"}


def as_rows(history: Sequence[EpochReport]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [_row(report) for report in history]


def as_history(rows: Any, where: object) -> list[EpochReport]:
    """The inverse of `as_rows`.

    Raises `StoreError` that names `where` the rows stand, if they are not a history.
    """
    nested = [_nested(row) for row in rows] if isinstance(rows, list) else rows
    return as_record(list[EpochReport], nested, where)


def read_history(run: Run) -> list[EpochReport]:
    """The history of a finished training; raises `DamagedError` for a damaged one."""
    with run.committed(stages.TRAIN).open(HISTORY) as file:
        return as_history(read_json(UPath(str(file))), run.folder(stages.TRAIN) / HISTORY)


def _row(report: EpochReport) -> dict[str, Any]:
    row = dataclasses.asdict(report)
    validation = row.pop("validation") or {}
    return row | validation


def _nested(row: Any) -> Any:
    """The row as the dataclass has it, validation metrics under a key of their own."""
    if not isinstance(row, dict):
        return row
    validation = {name: value for name, value in row.items() if name not in _OWN}
    return {**{name: row[name] for name in _OWN if name in row}, "validation": validation or None}
