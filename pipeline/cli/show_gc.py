"""What `gc` prints for a person."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pipeline.upkeep.gc import Collected


def show_collected(found: "Collected", console: Console) -> None:
    """What can go with its room, what stays and why, and the sum."""
    if found.items:
        going = _table("removed" if found.applied else "can go", "", "MB")
        for item in found.items:
            if item.removed or not found.applied:
                going.add_row(item.kind, escape(item.name), _megabytes(item.bytes))
        console.print(going)
    if found.kept:
        kept = _table("stays", "because", "MB")
        for night in found.kept:
            kept.add_row(escape(night.run_id), escape(night.reason), _megabytes(night.bytes))
        console.print(kept)
    for note in found.notes:
        console.print(note, markup=False, soft_wrap=True)
    done = "removed" if found.applied else "can go; `microrec gc --apply` removes it"
    console.print(f"{_megabytes(found.bytes)} MB {done}", markup=False, soft_wrap=True)


def _table(first: str, second: str, last: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    table.add_column(second, overflow="fold")
    table.add_column(last, justify="right")
    return table


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.1f}"
