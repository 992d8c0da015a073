"""What the report of a release shows: its numbers, and a grid of items with their nearest neighbours."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.columns import IMAGE_PATH, ITEM_ID, MODALITY, NEIGHBOUR_ID, RANK, SIMILARITY, SOURCE, TITLE
from pipeline.config import Config
from pipeline.contents import picture_path
from pipeline.dataset import Dataset
from pipeline.release import ITEM_EMBEDDINGS, ITEM_GRAPH
from pipeline.report import GridItem, GridRow, ReportContent, thumbnail
from pipeline.run import Run
from pipeline.split import TRAIN
from pipeline.storage import read_bytes, read_json
from pipeline.train import HISTORY

GRID_ROWS, GRID_NEIGHBOURS = 12, 6


def report_content(run: Run, dataset: Dataset, tables: dict[str, pa.Table], digest: str) -> ReportContent:
    """Gather everything `report.html` shows."""
    prepared, trained = run.result("prepare") or {}, run.result("train") or {}
    stages = ("validate", "extract", "prepare", "train", "evaluate")
    return ReportContent(
        run_id=run.id,
        release_digest=digest,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        config=run.config.as_dict(),
        counts=prepared["counts"],
        history=read_json(run.stage("train") / HISTORY),
        metrics=(run.result("evaluate") or {})["metrics"],
        seconds={name: result["seconds"] for name in stages if (result := run.result(name))},
        best_epoch=trained["best_epoch"],
        grid=_grid(run.config, dataset, tables),
    )


def _grid(config: Config, dataset: Dataset, tables: dict[str, pa.Table]) -> list[GridRow]:
    chosen = _choose_items(dataset)
    ids = dataset.items[ITEM_ID].to_list()
    neighbours = _neighbours(tables[ITEM_GRAPH], [ids[index] for index in chosen])
    shown = {ids[index] for index in chosen} | {entry[NEIGHBOUR_ID] for entry in neighbours}
    cards = _cards(config, dataset, tables[ITEM_EMBEDDINGS], shown)
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
    wanted = pa.compute.and_(
        pa.compute.is_in(graph.column(ITEM_ID), value_set=pa.array(ids, graph.schema.field(ITEM_ID).type)),
        pa.compute.less_equal(graph.column(RANK), GRID_NEIGHBOURS),
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


def _cards(config: Config, dataset: Dataset, items: pa.Table, shown: set[Any]) -> dict[Any, GridItem]:
    """One card per item, its picture read and shrunk in threads."""
    rows = dataset.items.filter(pl.col(ITEM_ID).is_in(list(shown))).to_dicts()
    sources = dict(zip(items.column(ITEM_ID).to_pylist(), items.column(SOURCE).to_pylist(), strict=True))
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda row: _picture(config, row.get(IMAGE_PATH)), rows))
    return {
        row[ITEM_ID]: GridItem(
            id=str(row[ITEM_ID]),
            title=str(row.get(TITLE) or row[ITEM_ID]),
            image=picture,
            note=sources[row[ITEM_ID]],
        )
        for row, picture in zip(rows, pictures, strict=True)
    }


def _picture(config: Config, image_path: str | None) -> str | None:
    if not image_path:
        return None
    try:
        payload = read_bytes(picture_path(config.path(config.catalogue.image_root), image_path))
    except OSError:
        return None
    picture: str | None = thumbnail(payload)
    return picture
