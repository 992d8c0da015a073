"""`make up`, `make down`, `make status`, `make seed`: the services of docker-compose.yml as processes on loopback."""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy import postgres, seaweedfs
from deploy.compose import ROOT, Service, Stack
from deploy.env_file import read
from deploy.processes import Processes, outer_environment

READY_SECONDS, END_SECONDS = 240.0, 45.0
WORKERS = ("worker", "gpu-worker", "gpu-worker-on-cpu")
"""Told to end before the rest: their tasks report to it."""


class Runner:
    """Starts, stops and watches the services of a stack."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self.stack, self.say = stack, say
        self.processes = Processes(stack.state)

    def up(self) -> None:
        """Start what does not run, each service when those it needs are ready; then wait for all.

        Raises `SystemExit` that names the service, the reason and the end of its log.
        """
        begun = time.monotonic()
        postgres.place(self.stack.state)
        started: list[str] = []
        services = [service for service in self.stack.services if service.name != "seed"]
        for service in services:
            self._require_ports(service)
        try:
            for service in services:
                for name in service.needs:
                    self._await_ready(self.stack.service(name))
                if not self.stack.runs_once(service):
                    started += self._start(service)
                elif not self._all_running(services):
                    self._run_once(service)
            for service in services:
                self._await_ready(service)
        except BaseException:
            self.say(f"stopping what was started: {', '.join(started) or 'nothing'}")
            self._stop(started)
            raise
        self.say(f"up after {time.monotonic() - begun:.0f} s; logs in {self.stack.state / 'logs'}")

    def down(self) -> None:
        """End everything that runs: workers first, then what they report to, stores and databases last."""
        ran = self._stop(self.processes.names())
        self.say(f"stopped {', '.join(ran)}" if ran else "nothing was running")

    def status(self) -> dict[str, str]:
        """What each service is doing."""
        states = {}
        for service in self.stack.services:
            if self.stack.runs_once(service) or service.name == "seed":
                continue
            pid = self.processes.running(service.name)
            healthy = pid is not None and self._is_healthy(service)
            states[service.name] = f"healthy, pid {pid}" if healthy else "stopped" if pid is None else f"ill, pid {pid}"
        return states

    def seed(self) -> None:
        """Write the sample catalogue into the store."""
        self._run_once(Stack(self.stack.env_file, self.stack.state, ("seed",)).service("seed"))

    def _all_running(self, services: list[Service]) -> bool:
        return all(
            self.processes.is_current(service.name, service.command, service.environment)
            for service in services
            if not self.stack.runs_once(service)
        )

    def _start(self, service: Service) -> list[str]:
        """Start one service unless it runs as it should; return its name if it was started."""
        if self.processes.is_current(service.name, service.command, service.environment):
            return []
        if self.processes.running(service.name):
            self.say(f"{service.name}: its settings have changed, starting it anew")
            self.processes.stop([service.name], END_SECONDS)
        self._write_files(service)
        user = None
        if service.name == "postgres":
            postgres.prepare(service)
            user = postgres.server_user()
        if service.name == "seaweedfs":
            seaweedfs.clear_sockets(read(self.stack.env_file))
        try:
            pid = self.processes.start(
                service.name,
                service.command,
                service.environment,
                user=user,
                stop_signal=service.document.get("stop_signal", "SIGTERM"),
            )
        except FileNotFoundError as error:
            raise SystemExit(f"{service.name}: {service.command[0]} is not installed ({error})") from error
        self.say(f"{service.name}: started, pid {pid}")
        return [service.name]

    def _require_ports(self, service: Service) -> None:
        if self.processes.running(service.name) is None and (taken := [p for p in service.ports if not _is_free(p)]):
            raise SystemExit(
                f"{service.name}: port {taken[0]} is taken by another program; "
                f"give it another one in {self.stack.env_file}, or end that program"
            )

    def _write_files(self, service: Service) -> None:
        """The configuration files and data folders it expects."""
        for path, content in service.configs.items():
            file = Path(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.chmod(0o600)
            file.write_text(content)
        (self.stack.state / "data" / service.name).mkdir(parents=True, exist_ok=True)

    def _run_once(self, service: Service) -> None:
        self.say(f"{service.name}: running")
        self._write_files(service)
        log = self.processes.log(service.name)
        with log.open("ab") as output:
            done = subprocess.run(
                service.command, env=_whole_environment(service), stdout=output, stderr=output, check=False, cwd=ROOT
            )
        if done.returncode:
            raise SystemExit(
                f"{service.name} ended with {done.returncode}; {log} ends:\n{self.processes.last_lines(service.name)}"
            )

    def _await_ready(self, service: Service) -> None:
        """Wait until the service says of itself that it is healthy."""
        if self.stack.runs_once(service):
            return
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_healthy(service):
            running = self.processes.running(service.name)
            if not running or time.monotonic() > deadline:
                reason = "is not healthy" if running else "has ended"
                end = self.processes.last_lines(service.name)
                raise SystemExit(f"{service.name} {reason}; {self.processes.log(service.name)} ends:\n{end}")
            time.sleep(0.5)

    def _is_healthy(self, service: Service) -> bool:
        if service.health is None:
            return True
        try:
            done = subprocess.run(
                service.health, env=_whole_environment(service), capture_output=True, timeout=30, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _stop(self, names: list[str]) -> list[str]:
        airflow = [name for name in names if name.startswith("airflow")]
        ran = []
        for wave in ([n for n in names if n in WORKERS], airflow, [n for n in names if n not in (*WORKERS, *airflow)]):
            ran += self.processes.stop(wave, END_SECONDS)
        if "seaweedfs" in ran:
            seaweedfs.clear_sockets(read(self.stack.env_file))
        return ran


def _whole_environment(service: Service) -> dict[str, str]:
    return {**outer_environment(), **service.environment}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """`python -m deploy.stack up|down|status|seed`."""
    # The programs that the images would bring.
    places = [postgres.binaries(), ROOT / ".venv" / "bin", os.environ.get("PATH", "")]
    os.environ["PATH"] = os.pathsep.join(map(str, places))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status", "seed"))
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env")
    parser.add_argument("--state", type=Path, default=ROOT / ".stack", help="folder of data, logs and pid files")
    given = parser.parse_args()
    if not given.env_file.exists():
        raise SystemExit(f"there is no {given.env_file}; `make env` writes one")
    runner = Runner(Stack(given.env_file.resolve(), given.state.resolve()), _say)
    try:
        result = getattr(runner, given.action)()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    for name, state in (result or {}).items():
        sys.stdout.write(f"{name:24}{state}\n")


if __name__ == "__main__":
    main()
