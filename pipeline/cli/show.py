"""What the commands print for a person. Nothing of a command is imported before its result is there."""

from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipeline.columns import ITEM_ID, SCORE, TITLE
from pipeline.terminal import Terminal

if TYPE_CHECKING:
    from pipeline.dataset.records import Evaluation, Metrics
    from pipeline.experiments.compare.compare import Comparison, Waiting
    from pipeline.registry.promotion import Moved
    from pipeline.registry.standing import History
    from pipeline.release.verdict import Verdict
    from pipeline.serving.lookup import Reason, Recommendations, Similar
    from pipeline.stages.order import RunSummary

GATE_COLUMNS = {
    "check": "left",
    "verdict": "left",
    "figure": "right",
    "interval": "right",
    "limit": "right",
    "": "left",
}
PARTS = {
    "test": "test",
    "validation": "validation",
    "cold": "test, new items among themselves",
    "cold_open": "test, new items among all",
    "popularity": "test, by popularity",
}
PROGRAMS_ONLY = ("counts", "metrics")


def show_run(summary: "RunSummary", console: Terminal) -> None:
    """Metrics, where the release and the report are, and the champion."""
    parts: dict[str, Metrics | None] = {label: getattr(summary.metrics, part) for part, label in PARTS.items()}
    measured = {label: metrics for label, metrics in parts.items() if metrics}
    if measured:
        console.print(_metric_table(measured))
    _show_items(summary.metrics, console)
    if summary.verdict:
        show_verdict(summary.verdict, console)
    mlflow = summary.mlflow
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in summary.seconds.items())
    console.print(f"run        {summary.run_id}", soft_wrap=True)
    console.print(f"seconds    {seconds}; peak memory {summary.peak_memory_bytes / 2**30:.2f} GiB", soft_wrap=True)
    console.print(f"model      {mlflow.model_name} version {mlflow.model_version} ({mlflow.alias or 'not promoted'})")
    if summary.held:
        console.print(f"held       {summary.held.reason}, since {summary.held.since}", soft_wrap=True)
    console.print(f"digest     {summary.digest}", soft_wrap=True)
    console.print(f"release    {summary.release}", soft_wrap=True)
    console.print(f"report     {summary.report}", soft_wrap=True)


def show_verdict(verdict: "Verdict", console: Terminal) -> None:
    """What the gate said, and its rows, one a line."""
    console.print(f"gate       {verdict.headline}", soft_wrap=True)
    if not verdict.rows:
        return
    table = Table(box=None, pad_edge=False)
    for name, justify in GATE_COLUMNS.items():
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in verdict.rows:
        cells = (row.name, row.verdict, row.shown_figure, row.shown_interval, row.shown_limit, row.note)
        table.add_row(*cells)
    console.print(table)


def _show_items(metrics: "Evaluation", console: Terminal) -> None:
    """New items and similar items, the model's above those of content alone."""
    from pipeline.release.item_panels import new_items_panel, similar_items_panel

    for panel in (new_items_panel(metrics), similar_items_panel(metrics)):
        if panel is None:
            continue
        table = Table(box=None, pad_edge=False)
        for number, name in enumerate((panel.title.lower(), *panel.columns)):
            table.add_column(name, justify="right" if number else "left")
        for name, cells in panel.rows.items():
            table.add_row(name, *cells)
        console.print(table)
        if panel.note:
            console.print(panel.note, soft_wrap=True)


def _metric_table(measured: "dict[str, Metrics]") -> Table:
    from pipeline.dataset.records import SHOWN_METRICS

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for label in measured:
        table.add_column(label, justify="right")
    for name in SHOWN_METRICS:
        table.add_row(name, *(f"{metrics[name]:.4f}" for metrics in measured.values()))
    table.add_row("users", *(f"{metrics['users']:,.0f}" for metrics in measured.values()))
    return table


def show_comparison(result: "Comparison | Waiting", console: Terminal) -> None:
    """The table, and where it is; or what other shards still have to measure."""
    from pipeline.experiments.compare.compare import Waiting

    if isinstance(result, Waiting):
        console.print(f"measured; still missing: {'; '.join(result.waiting_for)}", soft_wrap=True)
        return
    console.print(result.markdown, soft_wrap=True)
    console.print(f"table      {result.table}", soft_wrap=True)
    console.print(f"parquet    {result.parquet}", soft_wrap=True)


def show_list(result: "Recommendations | Similar", console: Terminal) -> None:
    """Rank, score, id and title, one item a line."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("rank", "right"), (SCORE, "right"), (ITEM_ID, "left"), (TITLE, "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in result.items:
        table.add_row(str(row.rank), f"{row.score:.4f}", str(row.item_id), row.title or "")
        for line in _why(row.why) if row.why else []:
            table.add_row("", "", "", line)
    console.print(table)
    left_out = getattr(result, "left_out", 0)
    if left_out is None:
        console.print("the release does not say what users have: nothing is left out")
    elif left_out:
        console.print(f"left out: {left_out} that the user has already; --with-seen shows them")


def _why(reason: "Reason") -> list[str]:
    """Where the score comes from, largest first, and what the user has that is nearest."""
    parts = sorted(reason.parts.items(), key=lambda part: -abs(part[1]))
    lines = ["  " + ", ".join(f"{name} {value:+.4f}" for name, value in parts)]
    for name, owned in reason.nearest.items():
        if owned:
            had = "; ".join(one.title or str(one.item_id) for one in owned)
            lines.append(f"  nearest{'' if name == 'all' else f' by {name}'}: {had}")
    return lines


def show_history(result: "History", console: Terminal) -> None:
    """One event a line, newest first."""
    for event in result.events:
        told = (
            f"{event.at:.19}  {event.action:<11}  version {event.model_version}  {event.run_id}  {event.reason or ''}"
        )
        console.print(told.rstrip(), soft_wrap=True)
    if not result.events:
        console.print("nothing is recorded yet")


def show_moved(moved: "Moved", console: Terminal) -> None:
    """The champion after a move; counts and metrics are for programs, and stand in the release's report."""
    from pipeline.documents import as_document

    _show_nested({key: value for key, value in as_document(moved).items() if key not in PROGRAMS_ONLY}, console, "")


def show_fields(result: Any, console: Terminal) -> None:
    """A nested result, one `key value` a line, nested tables indented."""
    from pipeline.documents import as_document

    _show_nested(as_document(result), console, "")


def _show_nested(value: dict[str, Any], console: Terminal, indent: str) -> None:
    width = max((len(str(key)) for key in value), default=0)
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            console.print(f"{indent}{key}")
            _show_nested(inner, console, indent + "  ")
        else:
            console.print(f"{indent}{str(key).ljust(width)}  {inner}", soft_wrap=True)
