"""Which errors of other people's libraries may pass."""

import errno
import sqlite3
import urllib.error
from email.message import Message

import polars as pl
import psycopg2
import pytest
import requests
import sqlalchemy.exc
from botocore import exceptions as botocore
from huggingface_hub.errors import OfflineModeIsEnabled
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE
from safetensors import SafetensorError

from pipeline.errors import InputError, PassingError
from pipeline.faults.find import find_fault, raise_fault, raise_if_passing


def answer(code, status=400):
    return botocore.ClientError(
        {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject"
    )


def polars_error(status, reason, code):
    body = f"<Error><Code>{code}</Code></Error>" if code else ""
    return OSError(
        f"object-store error: Generic S3 error: Error performing GET http://h/b/x in 1s, after 8 retries - Server "
        f"returned non-2xx status code: {status} {reason}: {body} (path: s3://b/x)\n\nCaused by:\n    0: more"
    )


def caused(error, by):
    error.__cause__ = by
    return error


def http_error(status):
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} for url", response=response)


def database_error(words):
    driver = psycopg2.OperationalError(words)
    return caused(sqlalchemy.exc.OperationalError("SELECT 1", {}, driver), driver)


PASSING = [
    *(answer(code) for code in ("SlowDown", "ExpiredToken", "RequestTimeout", "RequestTimeTooSkewed", "Throttling")),
    answer("InternalError", 500),
    caused(FileNotFoundError("translated"), answer("NoSuchUpload", 404)),
    answer("Unheard", 503),
    answer("TooManyRequests", 429),
    caused(PermissionError("translated"), answer("ExpiredToken")),
    botocore.EndpointConnectionError(endpoint_url="http://h"),
    botocore.ReadTimeoutError(endpoint_url="http://h"),
    botocore.CredentialRetrievalError(provider="p", error_msg="e"),
    polars_error(503, "Service Unavailable", "SlowDown"),
    polars_error(400, "Bad Request", "ExpiredToken"),
    polars_error(429, "Too Many Requests", ""),
    ConnectionRefusedError("object-store error: Generic S3 error: Error performing GET http://h - HTTP error"),
    database_error('connection to server at "h", port 5432 failed: Connection refused\n\tIs the server running?'),
    database_error('could not translate host name "db" to address: Name or service not known'),
    database_error("FATAL:  the database system is starting up"),
    psycopg2.InterfaceError("connection already closed"),
    caused(MlflowException("m", TEMPORARILY_UNAVAILABLE), sqlite3.OperationalError("database is locked")),
    caused(MlflowException("API request failed"), requests.ConnectionError("refused")),
    RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "m"}),
    RestException({"error_code": "INTERNAL_ERROR", "message": "m"}),
    RestException({"error_code": "BAD_REQUEST", "message": 'duplicate key value violates unique constraint "tag_pk"'}),
    MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: tags.key, tags.run_uuid", BAD_REQUEST),
    http_error(502),
    http_error(429),
    urllib.error.HTTPError("http://h", 503, "m", Message(), None),
    caused(urllib.error.URLError("no host"), ConnectionResetError("reset")),
    TimeoutError("timed out"),
    OSError(errno.EHOSTUNREACH, "No route to host"),
    OSError(errno.ENOSPC, "No space left on device", "store/x"),
    MemoryError(),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
    OSError("No space left on device (os error 28)"),
    OSError("100000 requested and 8176 written"),
    RuntimeError("faiss: write error in x: 4051 != 1600000 (No space left on device)"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ImportError("libx.so: cannot open shared object file: Too many open files"),
    pl.exceptions.PanicException(
        "called `Result::unwrap()` on an `Err` value: Os { code: 24, kind: Uncategorized }: Too many open files"
    ),
]
STAYING = [
    *(answer(code, 403) for code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")),
    answer("NoSuchBucket", 404),
    caused(FileNotFoundError("translated"), answer("NoSuchBucket", 404)),
    botocore.NoCredentialsError(),
    botocore.ProfileNotFound(profile="p"),
    polars_error(403, "Forbidden", "AccessDenied"),
    database_error('FATAL:  password authentication failed for user "me"'),
    database_error('FATAL:  database "mlflow" does not exist'),
    sqlite3.OperationalError("unable to open database file"),
    http_error(401),
    urllib.error.HTTPError("http://h", 404, "m", Message(), None),
    OfflineModeIsEnabled("offline"),
    SafetensorError("Error while serializing: I/O error: File too large (os error 27)"),
]
NONE = [
    ValueError("a bug"),
    SafetensorError("Error while deserializing header: header too large"),
    pl.exceptions.ComputeError("parquet: File out of specification"),
    FileNotFoundError(errno.ENOENT, "absent"),
    FileNotFoundError("object-store error: Object at location x not found - status code: 404 Not Found"),
    MlflowException("a bug"),
    RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "m"}),
    sqlite3.OperationalError("no such table: runs"),
    IsADirectoryError(errno.EISDIR, "a folder"),
]


def name(error):
    return f"{type(error).__name__}-{' '.join(str(error).split())[:40]}"


@pytest.mark.parametrize("error", PASSING, ids=name)
def test_find_fault_of_what_may_pass_is_one_line_that_says_so(error):
    fault = find_fault(error)
    assert fault is not None
    assert fault.passing
    assert "\n" not in fault.message
    with pytest.raises(PassingError, match=r"^where: "):
        raise_fault(error, "where")


@pytest.mark.parametrize("error", STAYING, ids=name)
def test_find_fault_of_what_is_the_same_tomorrow_says_so(error):
    fault = find_fault(error)
    assert fault is not None
    assert not fault.passing
    raise_if_passing(error, "where")
    with pytest.raises(InputError, match=r"^where: "):
        raise_fault(error, "where")


@pytest.mark.parametrize("error", NONE, ids=name)
def test_find_fault_of_any_other_error_is_none(error):
    assert find_fault(error) is None


def test_find_fault_of_a_server_names_no_password():
    error = caused(MlflowException("API request to http://me:s3cret@h failed"), requests.ConnectionError("refused"))
    assert "s3cret" not in find_fault(error).message


def test_find_fault_looks_at_what_an_error_was_raised_from():
    error = ValueError("cannot be loaded")
    error.__context__ = ConnectionResetError("reset")
    assert find_fault(error).passing
    error.__suppress_context__ = True
    assert find_fault(error) is None
