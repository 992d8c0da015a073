"""Runs one `microrec` command of the ML environment as a child process of an Airflow task.

Airflow and the ML libraries do not fit into one environment (docs/decisions/0002-two-environments.md), so a task
is the command line and nothing else: its standard error streams into the task's log, its one JSON object on
standard output is the task's result, its exit status decides between retrying and failing for good.
"""

import ctypes
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

log = logging.getLogger(__name__)

EXIT_INPUT, EXIT_REFUSED = 2, 3
_PR_SET_PDEATHSIG = 1


class RefusedError(AirflowFailException):
    """The input checks or the quality gate said no; `result` is what the command printed all the same, if anything."""

    def __init__(self, reason: str, result: dict[str, Any] | None) -> None:
        super().__init__(reason)
        self.result = result


def run_microrec(arguments: Sequence[str], label: str) -> dict[str, Any]:
    """Run `microrec ARGUMENTS --json` and return its result; `label` begins every line of its log.

    Raises:
        AirflowFailException: the input or configuration is wrong (exit status 2): the same again would end the same,
            so the task is not retried.
        RefusedError: the input checks or the quality gate refused (3); not retried either.
        AirflowException: anything else, which a retry may mend.
    """
    command = [find_microrec(), *arguments, "--json"]
    prefix = f"[{label}] "
    log.info("%srunning %s", prefix, " ".join(map(_shown, command)))
    with tempfile.TemporaryFile() as output:
        status, last_line = _follow(command, output, prefix)
        output.seek(0)
        text = output.read().decode()
    if status == 0:
        return json.loads(text)
    reason = f"microrec {arguments[0]} ended with status {status}: {last_line}"
    if status == EXIT_REFUSED:
        raise RefusedError(reason, json.loads(text) if text else None)
    if status == EXIT_INPUT:
        raise AirflowFailException(reason)
    raise AirflowException(reason)


def _shown(argument: str) -> str:
    """An argument for the log: of an address with a user or parameters only the setting's name."""
    name, scheme, rest = argument.partition("://")
    return f"{name.partition('=')[0]}=***" if scheme and re.search("[@?#]", rest) else argument


def find_microrec() -> str:
    """The ML environment's command: `MICROREC_BIN`, or `microrec` on the path, or the checkout's own `.venv`."""
    beside = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "microrec"
    found = os.environ.get("MICROREC_BIN") or shutil.which("microrec") or str(beside)
    if not Path(found).exists():
        raise AirflowFailException(f"there is no microrec at {found}; set MICROREC_BIN to the ML environment's command")
    return found


def _follow(command: Sequence[str], output: Any, prefix: str) -> tuple[int, str]:
    """Run a command, log its standard error line by line; return its exit status and the last line."""
    last_line = ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=_end_with_parent,
        env=_clean_environment(),
    ) as process:
        try:
            with _sigterm_passed_on(process):
                for line in process.stderr or ():
                    last_line = line.rstrip() or last_line
                    log.info("%s%s", prefix, line.rstrip())
        except BaseException:  # whatever ends the task ends its command
            process.terminate()
            raise
    return process.returncode, last_line


@contextmanager
def _sigterm_passed_on(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the command when the task is told to end: Airflow's own handler calls `on_kill` and lets the task go on."""
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        process.terminate()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end_with_parent() -> None:
    """Ask the kernel to end this process when the task dies, even by SIGKILL: no orphan beside its retry."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _clean_environment() -> dict[str, str]:
    """Airflow's own settings and Python paths mean nothing to the ML environment."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIRFLOW") and name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
