"""What the report of a release shows, gathered: numbers of the stages, and items and shoppers with pictures."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline import stages
from pipeline.columns import SOURCE, modality_weight
from pipeline.dataset.dataset import Dataset
from pipeline.errors import StoreError
from pipeline.release.cards import make_cards
from pipeline.release.format import ITEM_EMBEDDINGS, ITEM_GRAPH
from pipeline.release.report import (
    ContentWeights,
    Effort,
    InputContent,
    InputRow,
    Neighbourhoods,
    Problem,
    ReportContent,
    Shopper,
)
from pipeline.release.rotations import Rotations
from pipeline.release.sound import sound_table
from pipeline.release.space import Space
from pipeline.release.verdict import Verdict
from pipeline.run import Run, Stage
from pipeline.stages.align import ITEM_VECTORS, Aligned
from pipeline.stages.history import read_history
from pipeline.stages.input_checks import kept_checks
from pipeline.stages.movement import CONTENT_ONLY, Movement
from pipeline.stages.shown.lists import shoppers_and_parts
from pipeline.stages.shown.neighbours import neighbourhoods
from pipeline.stages.shown.places import catalogue_map
from pipeline.stages.shown.problems import data_problems

BEFORE: tuple[Stage[Any], ...] = (
    stages.VALIDATE,
    stages.EXTRACT,
    stages.PREPARE,
    stages.TRAIN,
    stages.EVALUATE,
)
"""Stages whose seconds are shown."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A release that is about to be published."""

    digest: str
    tables: dict[str, pa.Table]
    aligned: Aligned
    moved: Movement
    space: Space
    verdict: Verdict | None


def report_content(run: Run, dataset: Dataset, made: Made) -> ReportContent:
    """Gather everything `report.html` shows."""
    done = {stage.name: run.result(stage) for stage in BEFORE}
    catalogue, vectors = run.config.open_catalogue(), made.aligned.vectors
    rotations = Rotations(made.aligned.rotations)
    shoppers, parts, lists = shoppers_and_parts(run, dataset, vectors, rotations)
    neighbours, problems = _neighbours(run, dataset, made), _problems(run)
    shown = [*_of_shoppers(shoppers), *_of_neighbours(neighbours), *_of_problems(problems)]
    return ReportContent(
        run_id=run.id,
        release_digest=made.digest,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        config=run.config.as_dict(),
        counts=run.require(stages.PREPARE).counts,
        history=read_history(run),
        metrics=run.require(stages.EVALUATE).metrics,
        effort={
            name: Effort(seconds=one.seconds, peak_memory_bytes=one.peak_memory_bytes)
            for name, one in done.items()
            if one
        },
        best_epoch=run.require(stages.TRAIN).best_epoch,
        input=_input(run, problems),
        verdict=made.verdict,
        cards=make_cards(catalogue, dataset.items, shown),
        neighbours=neighbours,
        shoppers=shoppers,
        map=catalogue_map(catalogue, dataset, vectors[ITEM_VECTORS], run.config.evaluation.kind),
        weights=_weights(run, made.tables[ITEM_EMBEDDINGS], parts, lists),
        space=made.space,
        drift=made.moved.drift,
    )


def _input(run: Run, problems: list[Problem]) -> InputContent:
    """The checks of the input as they were last asked about the run, and what `validate` found odd."""
    validated, checks = run.result(stages.VALIDATE), kept_checks(run)
    warnings = validated.report.warnings if validated else []
    if checks is None:
        return InputContent(warnings=warnings, problems=problems)
    against = f"with that of {checks.champion}, the champion then" if checks.champion else ""
    return InputContent(
        lead=f"Compared {against}: {checks.verdict}." if against else f"Not compared: {checks.note}.",
        rows=[
            InputRow(name=row.name, then=row.then, now=row.now, allowed=row.allowed, verdict=row.outcome())
            for row in checks.rows
        ],
        warnings=warnings,
        problems=problems,
    )


def _problems(run: Run) -> list[Problem]:
    validated = run.result(stages.VALIDATE)
    return data_problems(validated.report) if validated else []


def _neighbours(run: Run, dataset: Dataset, made: Made) -> list[Neighbourhoods]:
    former = made.aligned.former
    then = None
    if former is not None:
        try:
            then = sound_table(run.store.release(former.manifest.run_id), ITEM_GRAPH)
        except StoreError as error:
            run.reporter.say(f"export: the report does not show what changed most: {error}")
    return neighbourhoods(dataset, made.tables[ITEM_GRAPH], made.moved.deltas.get("items"), then)


def _weights(run: Run, items: pa.Table, parts: dict[str, float], lists: int) -> ContentWeights:
    """Mean attention weights over the items with content, of those with interactions and of new ones."""
    training = run.require(stages.TRAIN)
    columns = {name: items.column(modality_weight(name)).to_numpy() for name in training.modalities}
    new_I = pl.Series(items.column(SOURCE)).to_numpy() == CONTENT_ONLY
    content_I = np.sum([*columns.values(), np.zeros(len(new_I))], axis=0) > 0

    def mean(weight_I: np.ndarray, chosen_I: np.ndarray) -> float:
        return float(weight_I[chosen_I].mean()) if chosen_I.any() else float("nan")

    return ContentWeights(
        attention={
            name: (mean(weight_I, content_I & ~new_I), mean(weight_I, content_I & new_I))
            for name, weight_I in columns.items()
        },
        taste=training.taste_weights,
        parts=parts,
        lists=lists,
    )


def _of_shoppers(shoppers: list[Shopper]) -> Iterable[Any]:
    for shopper in shoppers:
        yield from shopper.history
        yield from (one.id for one in shopper.suggestions)


def _of_neighbours(groups: list[Neighbourhoods]) -> Iterable[Any]:
    for row in (row for group in groups for row in group.rows):
        yield row.item
        yield from (one.id for lane in row.lanes.values() for one in lane)


def _of_problems(problems: list[Problem]) -> Iterable[Any]:
    return (one.id for problem in problems for one in problem.items)
