"""After `validate`, before anything is computed: its warnings, and the checks of the input, asked anew each time."""

from pipeline import stages
from pipeline.columns import ITEM_ID, USER_ID
from pipeline.config.config import Config
from pipeline.dataset.records import InputCounts
from pipeline.documents import as_document, as_record
from pipeline.registry.checks import Checks, lines_of, require_passed
from pipeline.registry.input_check import ask_checks
from pipeline.run import Run
from pipeline.stages.validation_report import ValidationReport
from pipeline.storage.files import read_json, write_json
from pipeline.storage.layout import Store

KEPT = "checks.json"
"""In the run's folder: what the checks said when they were last asked, for the report and the registry."""


def count_input(report: ValidationReport, config: Config) -> InputCounts:
    """What `validate` found, as the checks compare it and a manifest keeps it."""
    found = report.interactions
    left_out = found.dropped.get("of_users_left_out", 0)
    counted, ids = found.rows - left_out, (USER_ID, ITEM_ID)
    return InputCounts(
        items=report.items.kept,
        users=report.users.kept,
        interactions=found.kept,
        dropped=(counted - found.kept) / counted,
        usable={name: one.usable for name, one in report.modalities.items()},
        item_values=report.items.values,
        interaction_values={name: found.rows - nulls for name, nulls in found.nulls.items() if name not in ids},
        last_timestamp=found.last_timestamp,
        user_share=config.catalogue.filter.user_share,
    )


def ask_about(store: Store, config: Config, report: ValidationReport, *, accept_change: bool) -> Checks:
    """Ask the checks about a catalogue that was validated; today's champion and today's `[checks]` decide."""
    return ask_checks(store, config.checks, count_input(report, config), accept_change=accept_change)


def check_input(run: Run, *, accept_change: bool) -> Checks:
    """Ask about the run's validated catalogue, say its warnings and the checks' table, and keep these.

    Raises `ChecksRefusedError` where they refuse.
    """
    report = run.require(stages.VALIDATE).report
    checks = ask_about(run.store, run.config, report, accept_change=accept_change)
    keep_checks(run, checks)
    for line in (*(f"warning: {warning}" for warning in report.warnings), *lines_of(checks)):
        run.reporter.say(line)
    require_passed(checks)
    return checks


def keep_checks(run: Run, checks: Checks) -> None:
    """Write what the checks said into the run's folder; the answer before it is replaced."""
    write_json(run.path / KEPT, as_document(checks))


def kept_checks(run: Run) -> Checks | None:
    """What the checks said when they were last asked about the run; None where they were not."""
    try:
        return as_record(Checks, read_json(run.path / KEPT), run.path / KEPT)
    except FileNotFoundError:
        return None
