"""`.env`: random secrets and loopback ports, read by the containers and by the processes alike."""

import argparse
import base64
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

PASSWORDS = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "VECTORS_DB_PASSWORD",
    "REDIS_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "S3_PIPELINE_ACCESS_KEY",
    "S3_PIPELINE_SECRET_KEY",
    "S3_MLFLOW_ACCESS_KEY",
    "S3_MLFLOW_SECRET_KEY",
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_NOTE_PASSWORD",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_SECRET_KEY",
)
PORTS = {
    "AIRFLOW_PORT": 18080,
    "MLFLOW_PORT": 15000,
    "POSTGRES_PORT": 15432,
    "REDIS_PORT": 16379,
    # SeaweedFS listens on each of its ports and, for its own calls, on the same plus 10000.
    "S3_PORT": 18333,
    "S3_MASTER_PORT": 18334,
    "S3_VOLUME_PORT": 18335,
    "S3_FILER_PORT": 18336,
}


def complete(path: Path, choices: dict[str, str]) -> list[str]:
    """Add what `path` lacks, readable by its owner only; what stands there stays. Return the names added."""
    known = read(path) if path.exists() else {}
    wanted: dict[str, Callable[[], str]] = {name: lambda: secrets.token_hex(32) for name in PASSWORDS}
    wanted["AIRFLOW_FERNET_KEY"] = lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    wanted |= {name: lambda port=port: str(port) for name, port in PORTS.items()}  # type: ignore[misc]
    wanted["COMPOSE_PROFILES"] = lambda: "gpu" if shutil.which("nvidia-smi") else "cpu"
    wanted |= {name: lambda value=value: value for name, value in choices.items()}  # type: ignore[misc]
    added = {name: make() for name, make in wanted.items() if name not in known}
    if path.exists():
        path.chmod(0o600)  # an editor, or `cp`, may have left it readable by others
    if added:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "a") as file:
            file.writelines(f"{name}={value}\n" for name, value in added.items())
    return sorted(added)


def read(path: Path) -> dict[str, str]:
    """Names and values; empty lines and comments are passed over.

    Raises `SystemExit` that says how to make a missing file.
    """
    if not path.exists():
        raise SystemExit(f"there is no {path}; `make env` writes one")
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def main() -> None:
    """`python -m deploy.env_file [FILE] [NAME=VALUE ...]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path(".env"))
    parser.add_argument("choices", nargs="*", metavar="NAME=VALUE", help="values to take instead of the defaults")
    given = parser.parse_args()
    added = complete(given.file, dict(choice.split("=", 1) for choice in given.choices))
    sys.stderr.write(f"{given.file}: {len(added)} values added\n" if added else f"{given.file}: complete\n")


if __name__ == "__main__":
    main()
