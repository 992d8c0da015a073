"""What the report of `validate` says to a person: warnings, and the report as a table."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.columns import IMAGE_PATH, ITEM_ID, TIMESTAMP, USER_ID
from pipeline.pictures import NOT_FOUND, UNREADABLE

Report = dict[str, Any]
_FEW_INTERACTIONS = 3
_SHOWN = 3  # ids shown in a line


def find_warnings(report: Report) -> list[str]:
    """What deserves a look, though it stops nothing."""
    items, interactions = report["items"], report["interactions"]
    dropped, unknown, times = interactions["dropped"], interactions["unknown_items"], interactions["timestamps"]
    missing_times = times["missing"] if times else 0
    findings = {
        f"items: {items['without_id']} rows have no {ITEM_ID}, such as {_some(items['rows_without_id'])}; they are "
        "left out": items["without_id"],
        f"items: {items['repeated_rows']} rows repeat another word for word; one is kept": items["repeated_rows"],
        f"items: {items['not_in_catalogue']} are named by interactions only; they are items without content": items[
            "not_in_catalogue"
        ],
        f"interactions: {dropped['without_id']} rows lack {USER_ID} or {ITEM_ID}, such as "
        f"{_some(interactions['rows_without_id'])}; they are left out": dropped["without_id"],
        f"interactions: {dropped['of_unknown_items']} rows are of {unknown['count']} items that the catalogue lacks, "
        f"such as {_some(unknown['ids'])}": dropped["of_unknown_items"],
        f"interactions: {dropped['repeated_pairs']} rows repeat a (user, item) pair; the earliest is kept": dropped[
            "repeated_pairs"
        ],
        f"interactions: {missing_times} have no {TIMESTAMP}": missing_times,
        "users: half of them have fewer than 3 interactions, so little can be learned or measured": (
            report["users"]["interactions_per_user"]["median"] < _FEW_INTERACTIONS
        ),
    }
    content = [line for name, found in report["modalities"].items() for line in _content(name, found, items["kept"])]
    return [text for text, found in findings.items() if found] + content


def _content(name: str, found: Report, num_items: int) -> list[str]:
    lines = []
    if found.get(NOT_FOUND):
        shown = _some([entry[IMAGE_PATH] for entry in found["not_found_items"]])
        lines.append(f"{name}: {found[NOT_FOUND]} pictures are named but not there, such as {shown}")
    if found.get(UNREADABLE):
        shown = _some([entry[IMAGE_PATH] for entry in found["unreadable_items"]])
        lines.append(f"{name}: {found[UNREADABLE]} pictures cannot be decoded, such as {shown}")
    if found["usable"] == 0:
        lines.append(f"{name}: none of the {num_items} items has usable content; mend its columns, paths or vectors")
    return lines


def _some(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values[:_SHOWN]))


def render(report: Report, console: Console) -> None:
    """Print the report for a person."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in [*_item_rows(report), *_interaction_rows(report), *_content_rows(report)]:
        table.add_row(*row)
    console.print(table)
    for line in report["warnings"]:
        console.print(f"[yellow]warning[/] {escape(line)}", soft_wrap=True)
    if not report["warnings"]:
        console.print("[green]nothing to complain of[/]")


_Row = tuple[str, str, str]


def _item_rows(report: Report) -> list[_Row]:
    items, users = report["items"], report["users"]
    spread = users["interactions_per_user"]
    ids = f"ids are {'text' if items['id_type'] == 'String' else 'whole numbers'}"
    return [
        ("items", f"{items['kept']:,}", f"of {items['rows']:,} rows; {ids}"),
        *(
            [("  left out", f"{items['left_out']:,}", "named by no interaction (items_from)")]
            if items["left_out"]
            else []
        ),
        ("  without interactions", f"{items['without_interactions']:,}", "stay in the catalogue"),
        ("users", f"{users['kept']:,}", f"of {users['before']:,}"),
        ("  interactions a user", f"{spread['median']:g}", f"median; {spread['min']:,} to {spread['max']:,}"),
    ]


def _interaction_rows(report: Report) -> list[_Row]:
    found = report["interactions"]
    times, nulls = found["timestamps"], found["nulls"]
    rows = [("interactions", f"{found['kept']:,}", f"of {found['rows']:,} rows; density {report['density']:.3%}")]
    rows += [
        (f"  {name.replace('_', ' ')}", f"{-count:,}", "dropped" if count else "")
        for name, count in found["dropped"].items()
    ]
    rows += [(f"  {escape(name)} empty", f"{count:,}", "") for name, count in nulls.items() if count]
    if times and times["first"] is not None:
        rows.append(("  from", "", f"{times['first']} to {times['last']}"))
    return rows


def _content_rows(report: Report) -> list[_Row]:
    rows = []
    for name, found in report["modalities"].items():
        rows.append((escape(name), f"{found['usable']:,}", f"items with usable content, {found['content']}"))
        rows.append(("  missing", f"{found['missing']:,}", escape(_some(found["missing_items"]))))
        for kind in (NOT_FOUND, UNREADABLE):
            if kind in found:
                shown = _some([entry[IMAGE_PATH] for entry in found[f"{kind}_items"]])
                rows.append((f"  {kind.replace('_', ' ')}", f"{found[kind]:,}", escape(shown)))
    return rows
