"""Reaching MLflow: its address, its noise, and a database that several processes may create at once."""

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from pipeline.addresses import require_certain, without_secrets
from pipeline.errors import ConfigError, InputError
from pipeline.faults.find import find_fault
from pipeline.registry.relocation import relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
"""Of the databases, before a driver's name, and servers that MLflow knows."""
ATTEMPTS = 5
_Value = TypeVar("_Value")


def absolute_uri(uri: str, base: Path) -> str:
    """Spell out a SQLite file relative to `base`.

    Raises `ConfigError` for an address MLflow cannot use.
    """
    if uri.startswith(SQLITE):
        return SQLITE + str(base.resolve() / uri.removeprefix(SQLITE))
    if "://" not in uri or uri.partition(":")[0].partition("+")[0] not in SCHEMES:
        raise ConfigError(
            f"mlflow.tracking_uri is {without_secrets(uri)!r}; MLflow needs a database or a server: "
            "sqlite:///FILE, postgresql+psycopg2://…, http(s)://…"
        )
    require_certain(uri, "mlflow.tracking_uri")
    return uri


def connect(uri: str, database: Path | None, artifacts: Path | None = None, *, reading: bool = False) -> "MlflowClient":
    """Make a client; one process at a time creates `database`, because MLflow itself does not ensure that.

    A database that was moved or copied is told first where its artifacts lie now (`registry.relocation`).
    A reader gets a client of a copy if the database may not be written to: MLflow opens none without writing.
    Raises `ConfigError` where the credentials in the environment are another server's. MLflow's loggers are set to
    warnings. What only the environment can tell it is `pipeline.process`'s to set.
    """
    _keep_credentials(uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, about MLflow's own tables
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)  # pip need not be installed
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # traces of what is raised anyway
        logging.getLogger("alembic").setLevel(logging.WARNING)
        if database is None:
            _refuse_wrong_address(uri)
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
        if reading and database.exists() and not os.access(database.parent, os.W_OK):
            return _open(SQLITE + str(_copy(database)))
        with database.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not database.exists():
                _create(database)
            if artifacts is not None:
                relocate(database, artifacts)
            return _open(uri)


def _copy(database: Path) -> Path:
    """A copy of a database, which goes when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="microrec-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for file in database.parent.glob(f"{database.name}*"):  # its journal, too
        shutil.copy(file, folder)
    return folder / database.name


def _keep_credentials(uri: str) -> None:
    """Raise `ConfigError` where the environment's user and password are for another server than `uri`."""
    theirs = os.environ.get("MLFLOW_TRACKING_URI", "")
    given = any(os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("PASSWORD", "TOKEN"))
    both = theirs.startswith("http") and uri.startswith("http")
    if given and both and _server(theirs) != _server(uri):
        raise ConfigError(
            f"mlflow.tracking_uri is {without_secrets(uri)!r}, and the MLflow password in the environment is for "
            f"{without_secrets(theirs)!r} (MLFLOW_TRACKING_URI); correct one of the two"
        )


def _server(uri: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _create(database: Path) -> None:
    """Make the database under another name, whole: MLflow cannot use one whose making was interrupted."""
    for dead in database.parent.glob(f".{database.name}.*.new*"):
        dead.unlink()
    beside = database.with_name(f".{database.name}.{uuid.uuid4().hex}.new")  # MLflow keeps what it knows of a name
    _open(SQLITE + str(beside))
    with suppress(FileExistsError):  # MLflow's own server was faster
        database.hardlink_to(beside)
    beside.unlink()


def _open(uri: str) -> "MlflowClient":
    """A client of a database, all its tables made."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    _patiently(lambda: client.get_experiment("0"))  # opens the runs' tables
    _patiently(lambda: client.search_registered_models(max_results=1))  # and the registry's
    return client


def _refuse_wrong_address(uri: str) -> None:
    """Raise `InputError` for a database that refuses this user.

    MLflow itself tries for minutes, as is right while a database restarts.
    """
    if uri.startswith(("http", "databricks")):
        return
    import sqlalchemy

    try:
        sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool).connect().close()
    except sqlalchemy.exc.SQLAlchemyError as error:
        fault = find_fault(error)
        if fault and not fault.passing:
            raise InputError(f"mlflow.tracking_uri: {fault.message}") from error


def _patiently(action: Callable[[], _Value]) -> _Value:
    """Try again while another program, such as MLflow's own server, is busy creating the same database."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for attempt in range(ATTEMPTS - 1):
        try:
            return action()
        except (MlflowException, SQLAlchemyError):
            time.sleep(0.2 * 2**attempt)
    return action()


def unless_exists(create: Callable[[], object]) -> None:
    """Create something unless somebody else has just done so."""
    from mlflow.exceptions import MlflowException

    try:
        create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def unless_missing(look_up: Callable[[], _Value]) -> _Value | None:
    """Look something up; None where the registry has no such."""
    from mlflow.exceptions import MlflowException

    try:
        return look_up()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
