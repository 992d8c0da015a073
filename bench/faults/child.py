"""Commands in processes of their own: begun anew, or forked from a process that has loaded what a night needs.

A fork spares the seconds that a command takes to load its modules. What is to be ended while it loads, or to fail for
lack of memory, begins anew.
"""

import atexit
import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import IO, Protocol

STAGES = ("validate", "extract", "prepare", "train", "evaluate", "export", "register")
DEADLINE = 300.0
"""Seconds after which a command counts as one that does not end."""
FORKED = 4.0
"""Seconds that a night in a fork takes on an idle core; what is to meet it comes within them."""
NOT_ENDED = 124
"""Status of such a command, as `timeout` has it."""
CALL = "from pipeline.cli import main; main()"


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def began(self) -> bool:
        """Whether it came so far as to say something of its work."""
        return any(line.startswith(STAGES) for line in self.err.splitlines())

    @property
    def message(self) -> str:
        """Its one message; empty where there is none, or where there are several or a traceback."""
        told = [line for line in self.err.splitlines() if line.startswith("microrec: ")]
        return told[0] if len(told) == 1 and "Traceback" not in self.err and "panicked" not in self.err else ""


class Child(Protocol):
    """A command that runs."""

    def alive(self) -> bool:
        """Whether it still does."""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""

    def end(self, seconds: float = DEADLINE) -> Said:
        """Wait for it; one that does not end in time is killed, and its status is `NOT_ENDED`."""


def begin(arguments: Sequence[str], program: str, environment: Mapping[str, str]) -> Child:
    """Start a command in a new interpreter. Args: program: Python that is done first."""
    command = [sys.executable, "-c", f"{program}\n{CALL}", *arguments]
    return _Begun(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(environment))
    )


def fork(arguments: Sequence[str], program: str, environment: Mapping[str, str]) -> Child:
    """Start a command in a fork. Args: program: Python that is done first."""
    return _Forked(list(arguments), program, dict(environment))


class _Begun:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float = DEADLINE) -> Said:
        try:
            out, err = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            return Said(status=NOT_ENDED, out=out, err=f"{err}\ndid not end in {seconds:.0f} s")
        return Said(status=self._process.returncode, out=out, err=err)


class _Forked:
    def __init__(self, arguments: list[str], program: str, environment: dict[str, str]) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["bench.faults.loaded"])
        self._said = [b"", b""]
        pipes = [context.Pipe(duplex=False) for _ in self._said]
        ends = [write for _, write in pipes]
        self._process = context.Process(target=_work, args=(ends, arguments, program, environment))
        self._process.start()
        for end in ends:
            end.close()
        self._readers = [
            threading.Thread(target=self._read, args=(number, os.fdopen(os.dup(read.fileno()), "rb")), daemon=True)
            for number, (read, _) in enumerate(pipes)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, number: int, pipe: IO[bytes]) -> None:
        with pipe:
            self._said[number] = pipe.read()

    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        if self._process.is_alive() and self._process.pid:
            os.kill(self._process.pid, number)

    def end(self, seconds: float = DEADLINE) -> Said:
        self._process.join(seconds)
        late = self._process.is_alive()
        if late:
            self._process.kill()
            self._process.join()
        for reader in self._readers:
            reader.join(10)
        out, err = (said.decode(errors="replace") for said in self._said)
        status = NOT_ENDED if late or self._process.exitcode is None else self._process.exitcode
        return Said(status=status, out=out, err=f"{err}\ndid not end in {seconds:.0f} s" if late else err)


def _work(ends: list[Connection], arguments: list[str], program: str, environment: dict[str, str]) -> None:
    """Be the command, in the fork."""
    for number, end in enumerate(ends, start=1):
        os.dup2(end.fileno(), number)
        end.close()
    take_interrupts()
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it is remembered
    _read_environment()
    faulthandler.dump_traceback_later(DEADLINE - 10)
    from pipeline.cli import main

    try:
        exec(program, {})
        main(arguments)
    finally:
        atexit._run_exitfuncs()  # a fork of multiprocessing's leaves them out
        faulthandler.cancel_dump_traceback_later()


def take_interrupts() -> None:
    """A shell in the background has its children ignore Ctrl-C, and they theirs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _read_environment() -> None:
    """What fsspec has read when it was loaded."""
    from fsspec.config import conf, set_conf_env

    conf.clear()
    set_conf_env(conf)
