"""The comparison: every contestant on every seed, each a transaction; then the table."""

import dataclasses
import io
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from model.divergence import DivergedError
from pipeline import stages
from pipeline.catalogue.cleaning import clean_interactions, clean_items
from pipeline.columns import IMAGE_PATH, TITLE
from pipeline.dataset.features import ModalityFeatures, load_features
from pipeline.dataset.protocol import EvaluationProtocol
from pipeline.dataset.records import SLOT_SHARE, Metrics
from pipeline.dataset.split import split_interactions
from pipeline.errors import InputError
from pipeline.experiments.compare.contestant import Contestant, folder_name
from pipeline.experiments.compare.contestants import choose_contestants
from pipeline.experiments.compare.forecast import forecast, keep_skip, skipped, told, too_large
from pipeline.experiments.compare.measure import COMPARED, SeedData, measure
from pipeline.experiments.compare.table import SeedResult, as_markdown, build_table
from pipeline.experiments.compare.tracked import FitResult, log_comparison, log_measured
from pipeline.run import Run, Stage, run_stage
from pipeline.stages.order import do_stages
from pipeline.stages.pinned import input_of
from pipeline.stages.prepare import assemble
from pipeline.storage.files import as_json, create_bytes, local_copy, parse_json, publish_bytes

FOLDER, PER_USER = "compare", "per_user.parquet"
TABLES, CONTENTS = "tables.json", "contents.json"
"""Digests of the input that the run began with."""
MARKDOWN, PARQUET = "table.md", "table.parquet"


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What other shards have still to measure before there is a table."""

    run_id: str
    waiting_for: list[str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The finished table."""

    run_id: str
    part: str
    """Of the held-out interactions: `test`, or `cold`."""
    table: str
    """Where it is as Markdown."""
    parquet: str
    rows: list[dict[str, Any]]
    """Of the Parquet table, by column."""
    markdown: str


def compare(run: Run, shard: tuple[int, int] = (0, 1)) -> Comparison | Waiting:
    """Measure what is not yet measured, then write the table; the same run id continues.

    Args:
        shard: measure every n-th fit only (contestants in order, the seeds of each after another), for several
            processes at once; the table is written by whichever finds everything measured.

    Seed after seed, so that one seed's data are in memory at a time; of a seed, what is soon measured first. A row that
    needs more memory than is free is skipped, and stands in the table with the reason.

    Raises:
        ConfigError: a model that does not exist.
        InputError: the split leaves nothing to choose or to compare by; training diverges with every choice of a
            model (after all others have been measured); the run has figures of other input, or of a model that has
            since been given other settings.
    """
    rows = choose_contestants(run.config)
    do_stages(run, upto=stages.EXTRACT)
    load = _SeedLoader(run)
    fits = [(row, seed) for row in rows for seed in _seeds(run)]
    measured = {(row.name, seed) for row, seed in fits if _result(run, row, seed) is not None}
    mine = fits[shard[0] :: shard[1]]
    failed: list[str] = []
    for seed in _seeds(run):
        missing = [row for row, its_seed in mine if its_seed == seed and (row.name, seed) not in measured]
        if missing:
            failed += [name for name in _measure_all(run, missing, seed, load(seed)) if name not in failed]
    if failed:
        raise InputError(
            f"training diverges with every choice of settings of {', '.join(failed)}; leave them out of "
            f"compare.models, or begin a new run with another configuration"
        )
    missing_fits = [(row, seed) for row, seed in fits if _result(run, row, seed) is None]
    waiting = [f"{row.name}, seed {seed}" for row, seed in missing_fits if skipped(run, row, seed) is None]
    if waiting:
        return Waiting(run_id=run.id, waiting_for=waiting)
    return _write_table(run, rows, "cold" if run.config.split.strategy == "cold-items" else "test")


def _seeds(run: Run) -> range:
    return range(run.config.compare.seeds)


def _fit(row: Contestant, seed: int) -> Stage[FitResult]:
    return Stage(f"{FOLDER}/{folder_name(row)}/seed-{seed}", FitResult)


def _result(run: Run, row: Contestant, seed: int) -> FitResult | None:
    """What was measured before; raises `InputError` where it was with settings that are others today."""
    result = run.result(_fit(row, seed))
    if result is not None and result.definition != row.definition():
        raise InputError(
            f"run {run.id}: {row.name}, seed {seed}, was measured with other settings or choices, or by a version of "
            f"microrec that did not record them; use a new run id"
        )
    return result


class _SeedLoader:
    """Reads the input once and splits it anew for every seed."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def _input(self) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, ModalityFeatures]]:
        config, catalogue = self._run.config, self._run.config.open_catalogue()
        with input_of(self._run) as pin:
            self._require_same(TABLES, {"sha256": sorted(pin.digests.values())})
            items = clean_items(catalogue, [TITLE, IMAGE_PATH])
            features = load_features(catalogue, config.modalities, self._run.store, items)
            self._require_same(CONTENTS, {name: loaded.digest for name, loaded in features.items()})
            return items, clean_interactions(catalogue, items), features

    def _require_same(self, name: str, digests: dict[str, Any]) -> None:
        """A run keeps the input that it began with: figures of two nights do not compare."""
        record = self._run.path / FOLDER / name
        if parse_json(record, create_bytes(record, as_json(digests))) != digests:
            raise InputError(f"run {self._run.id} was begun with other {name.removesuffix('.json')}; use a new run id")

    def __call__(self, seed: int) -> SeedData:
        config = self._run.config
        config = dataclasses.replace(
            config,
            split=dataclasses.replace(config.split, seed=config.split.seed + seed),
            train=dataclasses.replace(config.train, seed=config.train.seed + seed),
        )
        items, interactions, features = self._input
        dataset = assemble(items, split_interactions(interactions, config.split), features)
        return SeedData(config, dataset, EvaluationProtocol(dataset, config.split))


def _measure_all(run: Run, rows: list[Contestant], seed: int, data: SeedData) -> list[str]:
    """Measure contestants on one seed, each a transaction; return the names of those that diverge."""

    def work(row: Contestant, this: Run, folder: Path) -> FitResult:
        measured = measure(row, data, this.reporter)
        measured.per_user.write_parquet(folder / PER_USER)
        result = FitResult(
            name=row.name,
            seed=seed,
            definition=row.definition(),
            settings={**(row.settings or {}), **measured.settings},
            tried=measured.tried,
            metrics=measured.metrics,
            fit_seconds=measured.seconds,
            edges=measured.edges,
        )
        log_measured(this, result)  # before the commit: what is committed is logged, whenever this process dies
        return result

    diverged = []
    counts = data.dataset.training_data()
    for row in sorted(rows, key=lambda row: row.effort):
        cost = forecast(row, data.config, counts)
        run.reporter.say(told(row, cost))
        reason = too_large(cost)
        if reason is not None:
            run.reporter.say(f"{row.name}: skipped: {reason}")
            keep_skip(run, row, seed, reason)
            continue
        try:
            run_stage(run, _fit(row, seed), partial(work, row))
        except DivergedError:
            diverged.append(row.name)
    return diverged


def _write_table(run: Run, rows: list[Contestant], part: str) -> Comparison:
    reasons = {row.name: _skip_reason(run, row) for row in rows}
    results = {
        row.name: [_read_result(run, row, seed, part) for seed in _seeds(run)]
        for row in rows
        if reasons[row.name] is None
    }
    table = build_table(rows, results, {name: reason for name, reason in reasons.items() if reason is not None})
    markdown = as_markdown(table, "cold items" if part == "cold" else part)
    folder = run.path / FOLDER
    publish_bytes(folder / MARKDOWN, markdown.encode())
    parquet = io.BytesIO()
    table.write_parquet(parquet)
    publish_bytes(folder / PARQUET, parquet.getvalue())
    log_comparison(run, folder / MARKDOWN)
    return Comparison(
        run_id=run.id,
        part=part,
        table=str(folder / MARKDOWN),
        parquet=str(folder / PARQUET),
        rows=table.to_dicts(),
        markdown=markdown,
    )


def _skip_reason(run: Run, row: Contestant) -> str | None:
    """Why a row has no figures on some seed; None where it has all."""
    missing = [seed for seed in _seeds(run) if _result(run, row, seed) is None]
    return skipped(run, row, missing[0]) if missing else None


def _read_result(run: Run, row: Contestant, seed: int, part: str) -> SeedResult:
    fit = _fit(row, seed)
    result = run.require(fit)
    measured, validation = result.metrics[part], result.metrics["validation"]
    assert measured is not None, "SeedData has the part"
    assert validation is not None, "SeedData has a validation part"
    with local_copy(run.folder(fit) / PER_USER) as file:
        per_user = pl.read_parquet(file)
    return SeedResult(measured, validation, per_user, result.fit_seconds, _beside(result.metrics, part), result.edges)


def _beside(metrics: dict[str, Metrics | None], part: str) -> dict[str, float]:
    """How new items fare among all: what they are found by counts where they are what is compared."""
    found = (metrics.get("cold_open") or {}) if part == "cold" else {}
    new = metrics.get("new_items") or {}
    shares = {SLOT_SHARE: new[SLOT_SHARE]} if new.get("items") and SLOT_SHARE in new else {}
    return {**{f"open {name}": found[name] for name in COMPARED if name in found}, **shares}
