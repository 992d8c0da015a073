"""Faults of MLflow's server, as its client tells them."""

import re

from pipeline.faults.fault import Fault, is_named, one_line

_ERROR = frozenset({("mlflow", "MlflowException")})
_ANSWER = frozenset({("mlflow", "RestException")})
_PASSING = (
    "ABORTED",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "TEMPORARILY_UNAVAILABLE",
)
_REFUSED = ("CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED", "UNAUTHENTICATED")
_AT_ONCE = re.compile("UNIQUE constraint failed|duplicate key value", re.I)
"""What SQLite and PostgreSQL say where two attempts at one night have written the same tag at the same moment."""
_NOT_MLFLOW = "not in a valid JSON format"
_ADDRESS = "is it running, and is mlflow.tracking_uri its address?"


def mlflow_fault(error: BaseException, deeper: Fault | None) -> Fault | None:
    """What an error of MLflow's client means; what the network or a database has said (`deeper`) decides."""
    if not is_named(error, _ERROR):
        return None
    code, words = getattr(error, "error_code", ""), one_line(error)
    if _AT_ONCE.search(words):
        return Fault(message="MLflow: another program wrote the same at the same moment; try again", passing=True)
    if deeper:
        told = deeper.message.startswith(("database:", "object store:"))
        return deeper if told else Fault(message=f"MLflow: {words}; {_ADDRESS}", passing=deeper.passing)
    if code in _PASSING or _NOT_MLFLOW in words or (code == "INTERNAL_ERROR" and is_named(error, _ANSWER)):
        return Fault(message=f"MLflow: {words}; {_ADDRESS}", passing=True)
    if code in _REFUSED:
        mend = "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return Fault(message=f"MLflow: {words}; {mend}", passing=False)
    if code == "ENDPOINT_NOT_FOUND":
        return Fault(message=f"MLflow: {words}; is mlflow.tracking_uri its address?", passing=False)
    return None
