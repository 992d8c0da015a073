"""The services as docker-compose.yml has them, resolved by the compose program itself: the one source of truth."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / ".venv" / "bin" / "docker-compose"
COMPLETED = "service_completed_successfully"


@dataclass(frozen=True)
class Service:
    """One service, to be run as a process."""

    name: str
    document: dict[str, Any]
    """As `docker-compose config --format json` has it."""
    configs: dict[str, str]
    """Content of the files it reads, by path."""

    @property
    def command(self) -> list[str]:
        return [*(self.document.get("entrypoint") or ()), *(self.document.get("command") or ())]

    @property
    def environment(self) -> dict[str, str]:
        return {name: value or "" for name, value in self.document.get("environment", {}).items()}

    @property
    def ports(self) -> list[int]:
        return [int(port["published"]) for port in self.document.get("ports", ())]

    @property
    def needs(self) -> list[str]:
        return sorted(self.document.get("depends_on", ()))

    @property
    def health(self) -> list[str] | None:
        """The command that says whether it is healthy."""
        kind, *rest = self.document.get("healthcheck", {}).get("test") or [None]
        return {"CMD": rest, "CMD-SHELL": ["sh", "-c", *rest]}.get(kind)


@dataclass(frozen=True)
class Stack:
    """All services as processes that keep what they have under `state`."""

    env_file: Path
    state: Path
    profiles: tuple[str, ...] = ()
    """More profiles than COMPOSE_PROFILES names."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """The resolved compose file."""
        databases = (self.state / "data" / "postgresql").resolve()  # a link where its user cannot enter `state`
        return resolve(
            [self.env_file, ROOT / "deploy" / "processes.env"],
            {"ROOT": str(ROOT), "STATE": str(self.state), "POSTGRES_DATA": str(databases)},
            self.profiles,
        )

    def service(self, name: str) -> Service:
        """One service by its name."""
        document = self.document["services"][name]
        contents = self.document.get("configs", {})
        configs = {entry["target"]: contents[entry["source"]]["content"] for entry in document.get("configs", ())}
        return Service(name, document, configs)

    @cached_property
    def services(self) -> list[Service]:
        """Every service after those it needs."""
        needs = {name: set(service.get("depends_on", ())) for name, service in self.document["services"].items()}
        return [self.service(name) for name in TopologicalSorter(needs).static_order()]

    def runs_once(self, service: Service) -> bool:
        """Whether others wait for its end rather than for its health."""
        waits = (other.document.get("depends_on", {}).get(service.name) for other in self.services)
        return any(wait and wait["condition"] == COMPLETED for wait in waits)


def resolve(env_files: Sequence[Path], variables: dict[str, str], profiles: Sequence[str] = ()) -> dict[str, Any]:
    """The compose file with all variables filled in.

    Raises `SystemExit` with compose's own words where something is wrong or missing.
    """
    options = [part for file in env_files for part in ("--env-file", str(file))]
    options += [part for profile in profiles for part in ("--profile", profile)]
    outside = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    done = subprocess.run(
        [str(COMPOSE), "--project-directory", str(ROOT), *options, "config", "--format", "json"],
        capture_output=True,
        text=True,
        env={**outside, **variables},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"docker-compose.yml: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout.replace("$$", "$"))  # compose writes a dollar as two
    return document
