"""What the commands print for a person."""

from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.columns import ITEM_ID, SCORE, TITLE

METRICS = ("recall@10", "recall@20", "precision@20", "ndcg@10", "ndcg@20", "hit@20", "map@20", "coverage@20")
ROWS = {
    "test": "test",
    "validation": "validation",
    "cold": "test, cold items only",
    "popularity": "test, by popularity",
}


def show_run(result: dict[str, Any], console: Console) -> None:
    """Metrics, where the release and the report are, and the champion."""
    measured = {label: result["metrics"][key] for key, label in ROWS.items() if result["metrics"].get(key)}
    if measured:
        console.print(_metric_table(measured))
    mlflow = result["mlflow"]
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result["seconds"].items())
    console.print(f"run        {result['run_id']}", soft_wrap=True)
    console.print(f"seconds    {seconds}; peak memory {result['peak_memory_bytes'] / 2**30:.2f} GiB", soft_wrap=True)
    console.print(
        f"model      {mlflow['model_name']} version {mlflow['model_version']} ({mlflow['alias'] or 'not promoted'})"
    )
    console.print(f"digest     {result['digest']}", soft_wrap=True)
    console.print(f"release    {result['release']}", soft_wrap=True)
    console.print(f"report     {result['report']}", soft_wrap=True)


def _metric_table(measured: dict[str, dict[str, float]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for label in measured:
        table.add_column(label, justify="right")
    for name in METRICS:
        table.add_row(name, *(f"{metrics[name]:.4f}" for metrics in measured.values()))
    table.add_row("users", *(f"{metrics['users']:,.0f}" for metrics in measured.values()))
    return table


def show_comparison(result: dict[str, Any], console: Console) -> None:
    """The table, and where it is; or what other shards have still to measure."""
    if "waiting_for" in result:
        console.print(f"measured; still missing: {'; '.join(result['waiting_for'])}", soft_wrap=True)
        return
    console.print(result["markdown"], markup=False, soft_wrap=True)
    console.print(f"table      {result['table']}", soft_wrap=True)
    console.print(f"parquet    {result['parquet']}", soft_wrap=True)


def show_list(result: dict[str, Any], console: Console) -> None:
    """Rank, score, id and title, one item a line."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("rank", "right"), (SCORE, "right"), (ITEM_ID, "left"), (TITLE, "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in result["items"]:
        table.add_row(str(row["rank"]), f"{row[SCORE]:.4f}", str(row[ITEM_ID]), row[TITLE] or "")
    console.print(table)


def show_fields(result: dict[str, Any], console: Console) -> None:
    """A nested result, one `key value` a line, nested tables indented."""
    _show_nested(result, console, "")


def _show_nested(value: dict[str, Any], console: Console, indent: str) -> None:
    width = max((len(str(key)) for key in value), default=0)
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            console.print(f"{indent}{key}", markup=False)
            _show_nested(inner, console, indent + "  ")
        else:
            console.print(f"{indent}{str(key).ljust(width)}  {inner}", markup=False, soft_wrap=True)
