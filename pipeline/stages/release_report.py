"""What the report of a release shows: its numbers, and a grid of items with their nearest neighbours."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import stages
from pipeline.catalogue.catalogue import Catalogue
from pipeline.catalogue.contents import join_texts
from pipeline.columns import IMAGE_PATH, ITEM_ID, MODALITY, NEIGHBOUR_ID, RANK, SIMILARITY, SOURCE, TITLE, TRAIN
from pipeline.dataset.dataset import Dataset
from pipeline.errors import InputError
from pipeline.release.format import ITEM_EMBEDDINGS, ITEM_GRAPH
from pipeline.release.report import GridItem, GridRow, InputContent, InputRow, ReportContent, thumbnail
from pipeline.release.verdict import Verdict
from pipeline.run import Run, Stage
from pipeline.stages.history import read_history
from pipeline.stages.input_checks import kept_checks
from pipeline.storage.files import is_absence

GRID_ROWS, GRID_NEIGHBOURS = 12, 6
BEFORE: tuple[Stage[Any], ...] = (
    stages.VALIDATE,
    stages.EXTRACT,
    stages.PREPARE,
    stages.TRAIN,
    stages.EVALUATE,
)
"""Stages whose seconds are shown."""


def report_content(
    run: Run, dataset: Dataset, tables: dict[str, pa.Table], digest: str, verdict: Verdict | None
) -> ReportContent:
    """Gather everything `report.html` shows."""
    done = {stage.name: run.result(stage) for stage in BEFORE}
    return ReportContent(
        run_id=run.id,
        release_digest=digest,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        config=run.config.as_dict(),
        counts=run.require(stages.PREPARE).counts,
        history=read_history(run),
        metrics=run.require(stages.EVALUATE).metrics,
        seconds={name: result.seconds for name, result in done.items() if result},
        best_epoch=run.require(stages.TRAIN).best_epoch,
        input=_input(run),
        verdict=verdict,
        grid=_grid(run.config.open_catalogue(), dataset, tables),
    )


def _input(run: Run) -> InputContent:
    """The checks of the input as they were last asked about the run, and the warnings of `validate`."""
    validated, checks = run.result(stages.VALIDATE), kept_checks(run)
    warnings = validated.report.warnings if validated else []
    if checks is None:
        return InputContent(warnings=warnings)
    against = f"with that of {checks.champion}, the champion then" if checks.champion else ""
    return InputContent(
        lead=f"Compared {against}: {checks.verdict}." if against else f"Not compared: {checks.note}.",
        rows=[
            InputRow(name=row.name, then=row.then, now=row.now, allowed=row.allowed, verdict=row.outcome())
            for row in checks.rows
        ],
        warnings=warnings,
    )


def _grid(catalogue: Catalogue, dataset: Dataset, tables: dict[str, pa.Table]) -> list[GridRow]:
    chosen = _choose_items(dataset)
    ids = dataset.items[ITEM_ID].to_list()
    neighbours = _neighbours(tables[ITEM_GRAPH], [ids[index] for index in chosen])
    shown = {ids[index] for index in chosen} | {entry[NEIGHBOUR_ID] for entry in neighbours}
    cards = _cards(catalogue, dataset, tables[ITEM_EMBEDDINGS], shown)
    return [GridRow(item=cards[ids[index]], neighbours=_row(neighbours, ids[index], cards)) for index in chosen]


def _choose_items(dataset: Dataset) -> list[int]:
    """Items spread evenly over popularity, those with every modality first, and two that nobody has touched."""
    complete_I = (
        np.logical_and.reduce(list(dataset.present.values())) if dataset.present else np.ones(len(dataset.items), bool)
    )
    count_I = np.bincount(dataset.pairs(TRAIN)[1].numpy(), minlength=len(dataset.items))
    untouched = np.flatnonzero(complete_I & (count_I == 0))[:2]
    touched = np.flatnonzero(complete_I & (count_I > 0))
    touched = touched[np.argsort(-count_I[touched], kind="stable")]
    places = np.linspace(0, max(0, len(touched) - 1), num=min(len(touched), GRID_ROWS - len(untouched)))
    return [int(index) for index in (*touched[np.unique(places.astype(int))], *untouched)]


def _neighbours(graph: pa.Table, ids: list[Any]) -> list[dict[str, Any]]:
    wanted = pc.and_(
        pc.is_in(graph.column(ITEM_ID), value_set=pa.array(ids, graph.schema.field(ITEM_ID).type)),
        pc.less_equal(graph.column(RANK), GRID_NEIGHBOURS),
    )
    rows: list[dict[str, Any]] = graph.filter(wanted).to_pylist()
    return rows


def _row(neighbours: list[dict[str, Any]], item_id: Any, cards: dict[Any, GridItem]) -> dict[str, list[GridItem]]:
    own = [entry for entry in neighbours if entry[ITEM_ID] == item_id]
    names = dict.fromkeys(entry[MODALITY] for entry in neighbours)
    return {
        name: [
            _with_similarity(cards[entry[NEIGHBOUR_ID]], entry[SIMILARITY]) for entry in own if entry[MODALITY] == name
        ]
        for name in names
    }


def _with_similarity(card: GridItem, similarity: float) -> GridItem:
    return GridItem(id=card.id, title=card.title, image=card.image, note=f"cosine {similarity:.2f}")


def _cards(catalogue: Catalogue, dataset: Dataset, items: pa.Table, shown: set[Any]) -> dict[Any, GridItem]:
    """One card per item, its picture read and shrunk in threads."""
    chosen = dataset.items.filter(pl.col(ITEM_ID).is_in(list(shown)))
    rows = chosen.to_dicts()
    titles = join_texts(chosen, [TITLE]) if TITLE in chosen.columns else [""] * len(rows)
    sources = dict(zip(items.column(ITEM_ID).to_pylist(), items.column(SOURCE).to_pylist(), strict=True))
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda row: _picture(catalogue, row.get(IMAGE_PATH)), rows))
    return {
        row[ITEM_ID]: GridItem(
            id=str(row[ITEM_ID]),
            title=title or str(row[ITEM_ID]),
            image=picture,
            note=sources[row[ITEM_ID]],
        )
        for row, title, picture in zip(rows, titles, pictures, strict=True)
    }


def _picture(catalogue: Catalogue, image_path: str | None) -> str | None:
    if not image_path:
        return None
    try:
        payload = catalogue.pictures().read(image_path)
    except InputError:  # the folder of the pictures is gone
        return None
    except OSError as error:
        if not is_absence(error):
            raise
        return None
    picture: str | None = thumbnail(payload)
    return picture
