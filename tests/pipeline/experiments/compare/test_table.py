import dataclasses

import numpy as np
import polars as pl
import pytest
from scipy import stats

from pipeline.experiments.compare.contestant import Contestant
from pipeline.experiments.compare.table import SeedResult, as_markdown, build_table, strongest_other

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")


def seed_results(level, num_seeds=3, seed=0):
    """Per-user values around `level`, other users' order in every seed."""
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(num_seeds):
        values = level + 0.05 * rng.normal(size=40)
        users = pl.DataFrame({"user_id": [f"u{n}" for n in range(40)], "recall@20": values, "ndcg@20": values / 2})
        metrics = dict.fromkeys(METRICS, float(values.mean()))
        results.append(SeedResult(metrics, metrics, users.sample(fraction=1, shuffle=True, seed=seed), 1.0))
    return results


@pytest.fixture
def table():
    rows = [
        Contestant(name="popularity", group="baseline"),
        Contestant(name="ease", group="baseline"),
        Contestant(name="micro", group="model"),
        Contestant(name="micro, no-contrast", group="ablation"),
    ]
    levels = {"popularity": 0.1, "ease": 0.2, "micro": 0.25, "micro, no-contrast": 0.3}
    return rows, {row.name: seed_results(levels[row.name], seed=n) for n, row in enumerate(rows)}


def test_build_table_interval_is_students_t_over_seeds(table):
    rows, results = table
    built = build_table(rows, results)
    values = [result.metrics["recall@20"] for result in results["ease"]]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    row = built.row(by_predicate=pl.col("name") == "ease", named=True)
    assert row["recall@20"] == pytest.approx((low + high) / 2)
    assert row["recall@20_interval"] == pytest.approx((high - low) / 2)


def test_build_table_paired_test_matches_users_not_rows(table):
    rows, results = table
    row = build_table(rows, results).row(by_predicate=pl.col("name") == "ease", named=True)
    joined = {name: pl.concat(result.per_user for result in results[name]) for name in ("micro", "ease")}
    means = {
        name: users.group_by("user_id").mean().sort("user_id")["recall@20"].to_numpy() for name, users in joined.items()
    }
    expected = stats.ttest_rel(means["micro"], means["ease"])
    interval = expected.confidence_interval(0.95)
    assert row["recall@20_p"] == pytest.approx(expected.pvalue)
    assert row["recall@20_difference"] == pytest.approx((means["micro"] - means["ease"]).mean())
    assert row["recall@20_difference_interval"] == pytest.approx((interval.high - interval.low) / 2)


def test_strongest_other_is_a_baseline_never_an_ablation(table):
    assert strongest_other(build_table(*table)) == "ease"


def test_as_markdown_one_seed_has_no_interval_and_no_model_no_pairs(table):
    rows, results = table
    single = {name: found[:1] for name, found in results.items() if name != "micro"}
    text = as_markdown(build_table([row for row in rows if row.name != "micro"], single), "test")
    assert "±" not in text.split("\n", 1)[1]
    assert "strongest" not in text


def test_as_markdown_names_the_strongest_baseline(table):
    text = as_markdown(build_table(*table), "test")
    assert "Against the baseline that is strongest on validation, ease: recall@20 +0.0" in text


def test_build_table_what_every_seed_has_beside_is_averaged_else_null(table):
    rows, results = table
    beside = [{"open recall@20": 0.1, "slot_share@20": 0.2}, {"open recall@20": 0.3}, {"open recall@20": 0.2}]
    results["ease"] = [
        dataclasses.replace(one, beside=these) for one, these in zip(results["ease"], beside, strict=True)
    ]
    row = build_table(rows, results).row(by_predicate=pl.col("name") == "ease", named=True)
    assert row["open recall@20"] == pytest.approx(0.2)
    assert row["open recall@20_interval"] == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / 3**0.5)
    assert row["slot_share@20"] is None
    assert row["open ndcg@20"] is None


def test_as_markdown_has_columns_of_what_some_row_has_beside(table):
    rows, results = table
    text = as_markdown(build_table(rows, results), "test")
    assert "open" not in text
    results["ease"] = [dataclasses.replace(one, beside={"slot_share@20": 0.25}) for one in results["ease"]]
    head, line, *cells = [row for row in as_markdown(build_table(rows, results), "test").split("\n") if "|" in row]
    assert "| slot_share@20 | Δ recall@20 |" in head
    assert {row.count("|") for row in (head, line, *cells)} == {head.count("|")}
    ease = next(row for row in cells if row.startswith("| ease"))
    assert "| 0.2500 ± 0.0000 |" in ease


def test_as_markdown_row_whose_choice_is_at_the_edge_is_marked_and_explained(table):
    rows, results = table
    edges = [["l2 = 3000 (highest)"], [], ["l2 = 3000 (highest)"]]
    results["ease"] = [dataclasses.replace(one, edges=edge) for one, edge in zip(results["ease"], edges, strict=True)]
    built = build_table(rows, results)
    assert built["at_edge"].to_list() == [None, "l2 = 3000 (highest)", None, None]
    text = as_markdown(built, "test")
    assert "| ease † |" in text
    assert text.count("†") == 2
    assert "a better one may lie beyond. ease: l2 = 3000 (highest)." in text
    assert "†" not in as_markdown(build_table(*table_of(rows, results, without="ease")), "test")


def table_of(rows, results, without):
    return [row for row in rows if row.name != without], results


def test_build_table_skipped_row_has_its_reason_and_no_figures(table):
    rows, results = table
    measured = {name: found for name, found in results.items() if name != "ease"}
    built = build_table(rows, measured, {"ease": "needs 9 GiB"})
    row = built.row(by_predicate=pl.col("name") == "ease", named=True)
    assert (row["skipped"], row["seeds"]) == ("needs 9 GiB", 0)
    figures = {
        key: value for key, value in row.items() if key not in ("name", "group", "embedding", "seeds", "skipped")
    }
    assert set(figures.values()) == {None}
    assert built.columns == build_table(rows, results).columns
    text = as_markdown(built, "test")
    (line,) = [line for line in text.splitlines() if line.startswith("| ease ")]
    assert line.startswith("| ease | skipped: needs 9 GiB |")
    assert line.count("|") == text.splitlines()[2].count("|")
    assert strongest_other(built) == "popularity"


def test_build_table_skipped_model_leaves_the_others_without_a_comparison(table):
    rows, results = table
    measured = {name: found for name, found in results.items() if name != "micro"}
    built = build_table(rows, measured, {"micro": "needs 9 GiB"})
    assert built["recall@20_p"].null_count() == len(rows)
    assert "Against" not in as_markdown(built, "test")
