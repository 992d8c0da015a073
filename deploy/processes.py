"""Long-running processes that outlive the command that started them: pid files, logs, ends."""

import contextlib
import hashlib
import json
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Processes:
    """The processes kept under one folder, each with a pid file and a log of its own."""

    folder: Path

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _record(self, name: str) -> Path:
        return self.folder / "pids" / f"{name}.json"

    def running(self, name: str) -> int | None:
        """Its pid; None where it has ended, also where another process has its number by now."""
        try:
            record = json.loads(self._record(name).read_text())
            pid, birth = record["pid"], record["birth"]
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return int(pid) if _birth(pid) == birth else None

    def is_current(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether it runs, and with this very command and environment."""
        if self.running(name) is None:
            return False
        started: str = json.loads(self._record(name).read_text())["settings"]
        return started == _digest(command, environment)

    def names(self) -> list[str]:
        """Everything that was started and not stopped."""
        return sorted(path.stem for path in (self.folder / "pids").glob("*.json"))

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        user: int | None = None,
        stop_signal: str = "SIGTERM",
    ) -> int:
        """Start it in a session of its own, so that Ctrl-C here does not reach it; return its pid.

        As another user it begins in `/`, since that user may not be able to enter the folder.
        Raises `FileNotFoundError` for a program that is not installed.
        """
        for path in (self.log(name), self._record(name)):
            path.parent.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**outer_environment(), **environment},
                cwd=self.folder if user is None else "/",
                start_new_session=True,
                **as_user(user),
            )
        record = {
            "pid": process.pid,
            "birth": _birth(process.pid),
            "settings": _digest(command, environment),
            "stop_signal": stop_signal,
        }
        self._record(name).write_text(json.dumps(record))
        process.returncode = 0  # it is meant to outlive this object: no warning about that
        return process.pid

    def stop(self, names: Iterable[str], seconds: float) -> list[str]:
        """Ask all of them to end at once, and end those that have not after so many seconds; return who ran."""
        ran = {name: pid for name in names if (pid := self.running(name)) is not None}
        for name, pid in ran.items():
            os.kill(pid, signal.Signals[json.loads(self._record(name).read_text())["stop_signal"]])
        deadline = time.monotonic() + seconds
        while any(self.running(name) for name in ran) and time.monotonic() < deadline:
            _reap()
            time.sleep(0.1)
        for pid in ran.values():
            _kill_session(pid)  # whatever is left: a worker's tasks have groups of their own
        _reap()
        for name in names:
            self._record(name).unlink(missing_ok=True)
        return list(ran)

    def last_lines(self, name: str, count: int = 15) -> str:
        """The end of its log."""
        log = self.log(name)
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:]) if log.exists() else ""


def as_user(user: int | None) -> dict[str, Any]:
    """Arguments with which `subprocess` starts a program as that user, with nothing left of our groups."""
    return {} if user is None else {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []}


def outer_environment() -> dict[str, str]:
    """What a service inherits: the machine's settings, nobody's own for a program that the stack runs itself."""
    own = ("AIRFLOW", "AWS_", "MLFLOW_", "MICROREC_", "PG", "POSTGRES", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def _digest(command: Sequence[str], environment: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([list(command), dict(environment)], sort_keys=True).encode()).hexdigest()


def _birth(pid: int) -> str | None:
    """When a process began, in ticks since boot: pid and birth together name a process for good."""
    fields = proc_stat(pid)
    return fields[19] if fields else None


def proc_stat(pid: int) -> list[str]:
    """State, parent, group, session and so on of a process, as proc(5) has them; empty where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] == "Z" else fields


def session_of(leader: int) -> list[int]:
    """The processes of a session that have not ended."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if proc_stat(pid)[3:4] == [str(leader)]]


def _kill_session(leader: int) -> None:
    for pid in session_of(leader):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _reap() -> None:
    """Take note of children of ours that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
