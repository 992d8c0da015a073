"""The `microrec` command line (docs/commands.md): a file for each group of commands, one for how all of them end.

What enters here reads arguments or shows a result. What a command works with is imported when it runs: `--help` has no
use for torch.
"""

import sys

import typer

from pipeline import process
from pipeline.cli import champion, data, releases, runs
from pipeline.cli.failures import exit_status
from pipeline.cli.interrupt import spare_polars

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for group in (data, runs, releases, champion):
    app.add_typer(group.app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every expected failure is one message on stderr and its exit status."""
    process.set_up()
    spare_polars()
    sys.exit(exit_status(lambda: app(arguments, standalone_mode=False)))
