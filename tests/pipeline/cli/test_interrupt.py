"""Ctrl-C while polars calls Python back."""

import signal
import subprocess
import sys

PROGRAM = """
import os, signal, time
import polars as pl
from pipeline.cli.interrupt import spare_polars

make = pl.List.__init__

def make_and_interrupt(self, inner):
    os.kill(os.getpid(), signal.SIGINT)
    make(self, inner)

pl.List.__init__ = make_and_interrupt
spare_polars()
try:
    print(pl.LazyFrame({"a": [[1]]}).collect_schema())
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def run(program: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, **options)


def test_interrupt_within_polars_is_raised_after_it():
    """Without `spare_polars` this ends in polars' panic."""
    done = run(PROGRAM, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert done.stdout.splitlines() == ["Schema([('a', List(Int64))])", "interrupted"]
    assert done.stderr == ""


def test_interrupt_that_is_ignored_stays_ignored():
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from pipeline.cli.interrupt import spare_polars; "
        "spare_polars(); print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    )
    assert run(program).stdout == "True\n"
