"""Reaching MLflow: its address, its noise, and a database that several processes may create at once."""

import fcntl
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.documents import without_passwords
from pipeline.errors import ConfigError, InputError
from pipeline.faults.find import find_fault

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
            f"mlflow.tracking_uri is {without_passwords(uri)!r}; MLflow needs a database or a server: "
            "sqlite:///FILE, postgresql+psycopg2://…, http(s)://…"
        )
    return uri


def connect(uri: str, database: Path | None) -> "MlflowClient":
    """Make a client; one process at a time creates `database`, for MLflow itself does not see to that.

    MLflow's loggers are set to warnings. What only the environment can tell it is `pipeline.process`'s to set.
    """
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
        with database.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
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
