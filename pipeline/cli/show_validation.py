"""What `microrec validate` prints for a person."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from rich.table import Table

from pipeline.catalogue.pin import Pin
from pipeline.registry.checks import Checks, lines_of
from pipeline.stages.order import Begun
from pipeline.stages.validation_report import ValidationReport, some
from pipeline.terminal import Terminal


@dataclass(frozen=True, kw_only=True)
class Validated(ValidationReport):
    """What `validate` tells: the report, and what the checks make of it."""

    checks: Checks

    @classmethod
    def of(cls, report: ValidationReport, checks: Checks, **more: Any) -> Self:
        """The report's fields beside the checks."""
        fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
        return cls(**fields, checks=checks, **more)


@dataclass(frozen=True, kw_only=True)
class ValidatedRun(Validated):
    """The same of a run, and which input it stands on."""

    run_id: str
    generation: int
    begun_again: bool
    """Whether this call has begun the run again."""
    input: Pin

    @classmethod
    def of_run(cls, begun: Begun, checks: Checks) -> Self:
        """What there is to tell of a run that has been validated."""
        return cls.of(
            begun.result.report,
            checks,
            run_id=begun.run.id,
            generation=begun.run.generation,
            begun_again=begun.again,
            input=begun.result.input,
        )


def show_validated_run(validated: ValidatedRun, console: Terminal) -> None:
    """The report, and how often the run has begun."""
    show_validation(validated, console)
    again = f", begun again ({validated.generation})" if validated.generation > 1 else ""
    console.print(f"run {validated.run_id} stands on {len(validated.input.files)} files{again}")


def show_validation(report: Validated, console: Terminal) -> None:
    """What `validate` found, as a table, its warnings, and what the checks make of it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in [*_item_rows(report), *_interaction_rows(report), *_content_rows(report)]:
        table.add_row(*row)
    console.print(table)
    for line in report.warnings:
        console.print(f"warning: {line}", style="yellow", soft_wrap=True)
    if not report.warnings:
        console.print("nothing to complain of", style="green")
    for line in lines_of(report.checks):
        console.print(line, soft_wrap=True)


_Row = tuple[str, str, str]


def _item_rows(report: ValidationReport) -> list[_Row]:
    items, users = report.items, report.users
    spread = users.interactions_per_user
    ids = f"ids are {'text' if items.id_type == 'String' else 'whole numbers'}"
    left_out = [("  left out", f"{items.left_out:,}", "named by no interaction (items_from)")]
    return [
        ("items", f"{items.kept:,}", f"of {items.rows:,} rows; {ids}"),
        *(left_out if items.left_out else []),
        *_value_rows(items.values or {}, items.rows),
        ("  without interactions", f"{items.without_interactions:,}", "stay in the catalogue"),
        ("users", f"{users.kept:,}", f"of {users.before:,}"),
        ("  interactions a user", f"{spread.median:g}", f"median; {spread.min:,} to {spread.max:,}"),
    ]


def _value_rows(values: dict[str, int], rows: int) -> list[_Row]:
    return [(f"  {name}", f"{count:,}", f"rows with a value, of {rows:,}") for name, count in values.items()]


def _interaction_rows(report: ValidationReport) -> list[_Row]:
    found = report.interactions
    times = found.timestamps
    rows = [("interactions", f"{found.kept:,}", f"of {found.rows:,} rows; density {report.density:.3%}")]
    rows += [
        (f"  {name.replace('_', ' ')}", f"{-count:,}", "dropped" if count else "")
        for name, count in found.dropped.items()
    ]
    rows += _value_rows({name: found.rows - count for name, count in found.nulls.items()}, found.rows)
    if times and times.first is not None:
        rows.append(("  from", "", f"{times.first} to {times.last}"))
    return rows


def _content_rows(report: ValidationReport) -> list[_Row]:
    rows = []
    for name, found in report.modalities.items():
        rows.append((name, f"{found.usable:,}", f"items with usable content, {found.content}"))
        rows.append(("  missing", f"{found.missing:,}", some(found.missing_items)))
        if found.distinct is not None:
            rows.append(("  distinct", f"{found.distinct:,}", ""))
        if found.long is not None:
            told = f"than the {found.reads} word pieces that the encoder reads {some(found.long_items)}"
            rows.append(("  longer", f"{found.long:,}", told.strip()))
        rows += [("  example", "", example) for example in found.examples]
        if found.unread:
            rows.append(("  never read", f"{found.unread:,}", "not decoded now either; --deep decodes all"))
        for kind, count, problems in found.picture_problems():
            rows.append((f"  {kind}", f"{count:,}", some([one.image_path for one in problems])))
    return rows
