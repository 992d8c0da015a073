"""All commands, and how one of them is run."""

from typing import Any

import typer
from typer.core import TyperGroup

from pipeline.cli import champion, data, releases, runs, store
from pipeline.cli.failures import Interrupted, exit_status
from pipeline.errors import PassingError
from pipeline.resources import open_more_files

LEAST_OPEN_FILES = 64
"""A night has some twenty open at once. With fewer, Polars panics in the middle, and OpenVINO does not say why."""


class Commands(TyperGroup):
    """The group of all commands, whose interrupts reach `exit_status`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named; typer would end with 130 whatever the signal was."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Interrupted from stop


app = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
)
for group in (data, runs, releases, champion, store):
    app.add_typer(group.app)


def run(arguments: list[str] | None) -> int:
    """Run a command line; None: this process's own. Return its exit status."""
    return exit_status(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> Any:
    most = open_more_files()
    if most < LEAST_OPEN_FILES:
        raise PassingError(f"only {most} files may be open at once here; allow {LEAST_OPEN_FILES} (`ulimit -n`)")
    return app(arguments, standalone_mode=False)
