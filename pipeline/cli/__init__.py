"""The `microrec` command line (docs/commands.md): a file for each group of commands, one for how all of them end.

What a command works with is imported when it runs: `--help` has no use for torch.
"""

import os
import sys

import typer

from pipeline.cli import data, releases, runs
from pipeline.cli.failures import exit_status
from pipeline.resources import processor_limit

SPINS = "3000"
"""Turns for which libgomp's threads wait for the next operation before they sleep. Its own 300,000 are milliseconds of
a core that others could have, the thread that is waited for among them (docs/decisions/0010-speed.md)."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for group in (data, runs, releases):
    app.add_typer(group.app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every expected failure is one message on stderr and its exit status."""
    _set_up_threads()
    sys.exit(exit_status(lambda: app(arguments, standalone_mode=False)))


def _set_up_threads() -> None:
    """Tell OpenMP, before torch is loaded, what it cannot see; what the environment says stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    limit = processor_limit()
    if limit is not None and limit < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(limit))
