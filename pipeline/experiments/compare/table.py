"""The table of a comparison: mean and interval over seeds, a paired test over users; as Markdown and as Parquet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from pipeline.columns import USER_ID
from pipeline.dataset.records import SLOT_SHARE
from pipeline.experiments.compare.contestant import Contestant
from pipeline.experiments.compare.measure import COMPARED

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
BESIDE = (*(f"open {name}" for name in COMPARED), SLOT_SHARE)
"""How new items fare where all items compete: how many are found, and the share of the places that they get."""
VALIDATION = "validation recall@20"
EDGE, MARK = "at_edge", "†"
"""Column of the settings of which no higher, or no lower, value was tried than the best; and how the table says it."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class SeedResult:
    """One contestant on one seed: metrics of the compared part and of validation, and the compared ones per user."""

    metrics: Mapping[str, float]
    validation: Mapping[str, float]
    per_user: pl.DataFrame
    seconds: float
    beside: Mapping[str, float] = field(default_factory=dict)
    """Those of `BESIDE` that were measured."""
    edges: Sequence[str] = ()
    """Chosen settings that are the highest or lowest of all tried."""


Results = Mapping[str, Sequence[SeedResult]]
"""By the contestant's name, a result per seed in the same order."""


def build_table(rows: Sequence[Contestant], results: Results, skipped: Mapping[str, str] | None = None) -> pl.DataFrame:
    """One row a contestant: mean and half-width of the 95 % interval (Student's t over seeds) of every metric.

    `<metric>_difference`, `_interval` and `_p` compare `micro` with the row over users, each user's metric averaged
    over the seeds: mean difference, half-width of its 95 % interval, and p of the paired t-test. They are null where
    `micro` was not compared, and in its own row.

    Args:
        skipped: why rows without results have none, by name; all their figures are null.
    """
    model, skipped = results.get("micro"), skipped or {}
    return pl.DataFrame(
        [
            {
                "name": row.name,
                "group": row.group,
                "embedding": row.is_embedding,
                **_figures(row, model, results.get(row.name, [])),
                "skipped": skipped.get(row.name),
            }
            for row in rows
        ],
        infer_schema_length=None,
        schema_overrides={"skipped": pl.String, EDGE: pl.String},
    )


def _figures(
    row: Contestant, model: Sequence[SeedResult] | None, results: Sequence[SeedResult]
) -> dict[str, float | str | None]:
    if not results:
        empty = dict.fromkeys((*METRICS, *(f"{name}_interval" for name in METRICS), VALIDATION, "seconds", EDGE))
        return {"seeds": 0, **empty, **_against(None, None)}
    return {
        "seeds": len(results),
        **_over_seeds(results),
        VALIDATION: float(np.mean([one.validation["recall@20"] for one in results])),
        **_against(model, results if row.name != "micro" else None),
        "seconds": float(np.mean([result.seconds for result in results])),
        EDGE: "; ".join(sorted({edge for result in results for edge in result.edges})) or None,
    }


def _over_seeds(results: Sequence[SeedResult]) -> dict[str, float | None]:
    """Of `METRICS`, and of `BESIDE` where every seed has it, else null."""
    columns: dict[str, float | None] = {}
    for name in (*METRICS, *BESIDE):
        found = [(result.metrics if name in METRICS else result.beside).get(name) for result in results]
        values = np.array([value for value in found if value is not None])
        is_whole = len(values) == len(found)
        columns[name] = float(values.mean()) if is_whole else None
        columns[f"{name}_interval"] = _half_width(values) if is_whole else None
    return columns


def _half_width(values: np.ndarray) -> float | None:
    """Of the 95 % interval of the mean; None for a single value."""
    if len(values) < 2:
        return None
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def _against(model: Sequence[SeedResult] | None, other: Sequence[SeedResult] | None) -> dict[str, float | None]:
    columns: dict[str, float | None] = {}
    joined = _mean_per_user(model).join(_mean_per_user(other), on=USER_ID, suffix="_other") if model and other else None
    for name in COMPARED:
        difference = interval = p = None
        if joined is not None:
            values = (joined[name] - joined[f"{name}_other"]).to_numpy()
            difference, interval = float(values.mean()), _half_width(values)
            p = float(stats.ttest_1samp(values, 0).pvalue) if values.any() else 1.0
        columns |= {f"{name}_difference": difference, f"{name}_difference_interval": interval, f"{name}_p": p}
    return columns


def _mean_per_user(results: Sequence[SeedResult]) -> pl.DataFrame:
    users = pl.concat([result.per_user for result in results])
    return users.group_by(USER_ID, maintain_order=True).agg(pl.col(name).mean() for name in COMPARED)


def strongest_other(table: pl.DataFrame) -> str | None:
    """Name of the baseline that validation likes best; None where there is none."""
    measured = table.filter(pl.col("skipped").is_null())
    baselines = measured.filter(pl.col("group") == "baseline").sort(VALIDATION, descending=True)
    return None if baselines.is_empty() else str(baselines["name"][0])


def as_markdown(table: pl.DataFrame, part: str) -> str:
    """The table for people, and the paired comparison with the strongest baseline in a sentence."""
    names = (*METRICS, *(name for name in BESIDE if table[name].is_not_null().any()))
    told = (
        " open: new items among all; slot_share: share of the places of the users' lists that new items get."
        if len(names) > len(METRICS)
        else ""
    )
    lines = [
        f"On {part}: mean ± 95 % interval over seeds; s, seconds of a fit. Δ is micro minus the row: each user's "
        f"recall@20 averaged over the seeds, then the mean difference over users; p is the paired t-test's.{told}",
        "",
        f"| | {VALIDATION} | {' | '.join(names)} | Δ recall@20 | p | s |",
        f"|---|{'---|' * (len(names) + 4)}",
        *(_line(row, names) for row in table.iter_rows(named=True)),
    ]
    strongest = strongest_other(table)
    if strongest is not None and "micro" in table.filter(pl.col("skipped").is_null())["name"]:
        row = table.row(by_predicate=pl.col("name") == strongest, named=True)
        told = ", ".join(_paired(row, name) for name in COMPARED)
        lines += ["", f"Against the baseline that is strongest on validation, {strongest}: {told}."]
    edges = table.filter(pl.col(EDGE).is_not_null())
    if len(edges):
        told = "; ".join(f"{name}: {edge}" for name, edge in edges.select("name", EDGE).iter_rows())
        lines += ["", f"{MARK} The best choice is at the edge of what was tried; a better one may lie beyond. {told}."]
    return "\n".join(lines) + "\n"


def _paired(row: dict[str, Any], name: str) -> str:
    difference, interval, p = (row[f"{name}_{part}"] for part in ("difference", "difference_interval", "p"))
    return f"{name} {_cell(difference, interval, '+')} (p {_as_p(p)})"


def _line(row: dict[str, Any], names: Sequence[str]) -> str:
    name = f"**{row['name']}**" if row["group"] == "model" else str(row["name"])
    if row["skipped"] is not None:
        return f"| {name} | skipped: {row['skipped']} {'| ' * (len(names) + 4)}"
    cells = ["" if row[one] is None else _cell(row[one], row[f"{one}_interval"]) for one in names]
    difference, p = row["recall@20_difference"], row["recall@20_p"]
    paired = ["", ""] if difference is None else [f"{difference:+.4f}", _as_p(p)]
    mark = "" if row[EDGE] is None else f" {MARK}"
    return f"| {name}{mark} | {row[VALIDATION]:.4f} | {' | '.join([*cells, *paired])} | {row['seconds']:.0f} |"


def _cell(mean: float, half_width: float | None, sign: str = "") -> str:
    return f"{mean:{sign}.4f}" if half_width is None else f"{mean:{sign}.4f} ± {half_width:.4f}"


def _as_p(p: float) -> str:
    return "< 1e-9" if p < 1e-9 else f"{p:.1g}"
