"""The history of a training, an epoch a row, as it stands in JSON: validation metrics beside the rest."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from model.epoch import EpochReport
from pipeline import stages
from pipeline.run import Run
from pipeline.storage.files import read_json

HISTORY = "history.json"
_OWN = {field.name for field in dataclasses.fields(EpochReport)} - {"validation"}


def as_rows(history: Sequence[EpochReport]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [_row(report) for report in history]


def as_history(rows: Sequence[Mapping[str, Any]]) -> list[EpochReport]:
    """The inverse of `as_rows`."""
    return [_report(row) for row in rows]


def read_history(run: Run) -> list[EpochReport]:
    """The history of a finished training."""
    return as_history(read_json(run.folder(stages.TRAIN) / HISTORY))


def _row(report: EpochReport) -> dict[str, Any]:
    row = dataclasses.asdict(report)
    validation = row.pop("validation") or {}
    return row | validation


def _report(row: Mapping[str, Any]) -> EpochReport:
    validation = {name: value for name, value in row.items() if name not in _OWN}
    return EpochReport(**{name: row[name] for name in _OWN}, validation=validation or None)
