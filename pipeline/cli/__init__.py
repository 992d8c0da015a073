"""The `microrec` command line: a file for each group of commands, one for how all end (docs/reference/commands.md).

What enters here reads arguments or shows a result. What a command works with is imported when it runs: `--help` has no
use for torch.
"""

import sys

from pipeline import process
from pipeline.cli.interrupt import Terminated, take_signals


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every expected failure is one message on stderr and its exit status."""
    process.set_up()
    take_signals()
    try:  # the commands' imports take seconds on a busy machine, and a signal may come meanwhile
        from pipeline.cli.application import run
    except KeyboardInterrupt as stop:
        if isinstance(stop, Terminated):
            sys.stderr.write(f"{Terminated.message}\n")
        sys.exit(Terminated.exit_status if isinstance(stop, Terminated) else 130)
    sys.exit(run(arguments))
