"""What `microrec validate` prints for a person."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.registry.checks import Checks, lines_of
from pipeline.stages.validation_report import ValidationReport, some


def show_validation(report: ValidationReport, checks: Checks, console: Console) -> None:
    """What `validate` found, as a table, its warnings, and what the checks make of it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in [*_item_rows(report), *_interaction_rows(report), *_content_rows(report)]:
        table.add_row(*row)
    console.print(table)
    for line in report.warnings:
        console.print(f"[yellow]warning[/] {escape(line)}", soft_wrap=True)
    if not report.warnings:
        console.print("[green]nothing to complain of[/]")
    for line in lines_of(checks):
        console.print(line, markup=False, soft_wrap=True)


_Row = tuple[str, str, str]


def _item_rows(report: ValidationReport) -> list[_Row]:
    items, users = report.items, report.users
    spread = users.interactions_per_user
    ids = f"ids are {'text' if items.id_type == 'String' else 'whole numbers'}"
    left_out = [("  left out", f"{items.left_out:,}", "named by no interaction (items_from)")]
    return [
        ("items", f"{items.kept:,}", f"of {items.rows:,} rows; {ids}"),
        *(left_out if items.left_out else []),
        ("  without interactions", f"{items.without_interactions:,}", "stay in the catalogue"),
        ("users", f"{users.kept:,}", f"of {users.before:,}"),
        ("  interactions a user", f"{spread.median:g}", f"median; {spread.min:,} to {spread.max:,}"),
    ]


def _interaction_rows(report: ValidationReport) -> list[_Row]:
    found = report.interactions
    times = found.timestamps
    rows = [("interactions", f"{found.kept:,}", f"of {found.rows:,} rows; density {report.density:.3%}")]
    rows += [
        (f"  {name.replace('_', ' ')}", f"{-count:,}", "dropped" if count else "")
        for name, count in found.dropped.items()
    ]
    rows += [(f"  {escape(name)} empty", f"{count:,}", "") for name, count in found.nulls.items() if count]
    if times and times.first is not None:
        rows.append(("  from", "", f"{times.first} to {times.last}"))
    return rows


def _content_rows(report: ValidationReport) -> list[_Row]:
    rows = []
    for name, found in report.modalities.items():
        rows.append((escape(name), f"{found.usable:,}", f"items with usable content, {found.content}"))
        rows.append(("  missing", f"{found.missing:,}", escape(some(found.missing_items))))
        for kind, count, problems in found.picture_problems():
            rows.append((f"  {kind}", f"{count:,}", escape(some([one.image_path for one in problems]))))
    return rows
