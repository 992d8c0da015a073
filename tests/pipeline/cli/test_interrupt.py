"""Ctrl-C while polars calls Python back."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, time
import polars as pl
from pipeline.cli.interrupt import take_signals

make = pl.List.__init__

def make_and_interrupt(self, inner):
    os.kill(os.getpid(), signal.SIGINT)
    make(self, inner)

pl.List.__init__ = make_and_interrupt
take_signals()
try:
    print(pl.LazyFrame({"a": [[1]]}).collect_schema())
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def run(program: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, **options)


def test_interrupt_within_polars_is_raised_after_it():
    """Without `take_signals` this ends in polars' panic."""
    done = run(PROGRAM, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert done.stdout.splitlines() == ["Schema([('a', List(Int64))])", "interrupted"]
    assert done.stderr == ""


def test_interrupt_that_is_ignored_stays_ignored():
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from pipeline.cli.interrupt import take_signals; "
        "take_signals(); print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    )
    assert run(program).stdout == "True\n"


TERMINATED = """
import os, signal, sys, time
from upath import UPath
from pipeline.cli.failures import exit_status
from pipeline.cli.interrupt import take_signals
from pipeline.storage.files import scratch

def command():
    with scratch(UPath(sys.argv[1])) as folder:
        (folder / "half").touch()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

take_signals()
sys.exit(exit_status(command))
"""


def test_terminated_says_so_and_leaves_no_scratch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, str(tmp_path / "stage")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (143, "microrec: ended by SIGTERM\n")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


COMMAND = """
import os, sys, time
import pipeline.sample
from pipeline.cli import main

def write_sample(*_, **__):
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(60)

pipeline.sample.write_sample = write_sample
main(["sample", "nowhere"])
"""


@pytest.mark.parametrize(
    ("number", "status", "err"),
    [(signal.SIGTERM, 143, "microrec: ended by SIGTERM\n"), (signal.SIGINT, 130, "")],
)
def test_signal_while_a_command_runs_is_told(number, status, err, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(int(number))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", err)


WHILE_TIDYING = """
import os, signal, sys, time
from pipeline.cli import interrupt
from pipeline.cli.failures import exit_status

interrupt.SAME = float(sys.argv[1])

def command():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        print("tidied up", flush=True)

interrupt.take_signals()
sys.exit(exit_status(command))
"""


@pytest.mark.parametrize(
    ("same", "status", "out", "err"),
    [("60", 143, "tidied up\n", "microrec: ended by SIGTERM\n"), ("0", -signal.SIGTERM, "", "")],
)
def test_terminated_twice_tidies_up_unless_the_second_comes_later(same, status, out, err):
    command = [sys.executable, "-c", WHILE_TIDYING, same]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


IMPORTING = """
import os, signal, sys
from pipeline.cli import main

class Signal:
    def find_spec(self, name, path=None, target=None):
        if name == "pipeline.cli.runs":
            os.kill(os.getpid(), int(sys.argv[1]))

sys.meta_path.insert(0, Signal())
main(["--help"])
"""


@pytest.mark.parametrize(
    ("number", "status", "err"),
    [(signal.SIGTERM, 143, "microrec: ended by SIGTERM\n"), (signal.SIGINT, 130, "")],
)
def test_signal_while_commands_are_imported_is_told_as_later(number, status, err):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, str(int(number))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", err)
