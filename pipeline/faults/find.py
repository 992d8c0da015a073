"""The one place that tells a fault that may pass from one that stays."""

from typing import NoReturn

from pipeline.errors import InputError, PassingError
from pipeline.faults.database import database_fault
from pipeline.faults.fault import Fault, one_line
from pipeline.faults.mlflow import mlflow_fault
from pipeline.faults.network import network_fault
from pipeline.faults.object_store import store_fault

KINDS = (store_fault, database_fault, mlflow_fault, network_fault)


def find_fault(error: BaseException | None) -> Fault | None:
    """The fault that an error tells of, itself or by what it was raised from; None where there is none."""
    if error is None:
        return None
    deeper = find_fault(error.__cause__ or (None if error.__suppress_context__ else error.__context__))
    told = (kind(error, deeper) for kind in KINDS)
    return next((fault for fault in told if fault), deeper)


def raise_if_passing(error: BaseException, where: object) -> None:
    """Raise `PassingError` if reading `where` failed, but not because of the content."""
    fault = find_fault(error)
    if fault and fault.passing:
        raise PassingError(f"{where}: {fault.message}") from error


def raise_fault(error: BaseException, where: object) -> NoReturn:
    """Raise `PassingError`, or `InputError` for what will be the same tomorrow."""
    raise_if_passing(error, where)
    fault = find_fault(error)
    raise InputError(f"{where}: {fault.message if fault else one_line(error)}") from error
