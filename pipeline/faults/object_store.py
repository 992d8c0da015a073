"""Faults of an object store, as botocore and Polars tell them."""

import re

from pipeline.faults.fault import Fault, is_named, one_line, passes

PASSING_CODES = frozenset(
    {
        "400",  # of a request that is answered without a body, as an expired token is
        "BadDigest",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteBody",
        "InternalError",
        "NoSuchUpload",  # an upload in parts that the store has dropped: it begins anew
        "OperationAborted",
        "PriorRequestNotComplete",
        "RequestExpired",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeTooSkewed",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TokenRefreshRequired",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""S3's codes for what may pass: throttling, time-outs, its own failures, tokens and clocks that are renewed."""
_UNKNOWN_KEY = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"})
_RENEWED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_ANSWER = frozenset({("botocore", "ClientError")})
_NO_CREDENTIALS = frozenset({("botocore", "NoCredentialsError"), ("botocore", "PartialCredentialsError")})
_NOT_REACHED = frozenset(
    {("botocore", "ConnectionError"), ("botocore", "HTTPClientError"), ("botocore", "IncompleteReadError")}
)
_NOT_RENEWED = frozenset({("botocore", "CredentialRetrievalError"), ("botocore", "MetadataRetrievalError")})
_OTHER = frozenset({("botocore", "BotoCoreError")})
_POLARS = re.compile(r"object-store error|Generic S3 error")
_STATUS, _CODE = re.compile(r"status code: (\d{3})"), re.compile(r"<Code>(\w+)</Code>")


def store_fault(error: BaseException, _: Fault | None) -> Fault | None:
    """What an error of botocore's means, or of Polars' about a store; None for any other."""
    if is_named(error, _ANSWER):
        answer = getattr(error, "response", {})
        said, status = answer.get("Error", {}), answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _answered(said.get("Code", ""), said.get("Message", ""), status)
    if is_named(error, _NO_CREDENTIALS):
        return _fault(
            "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run "
            "where a role gives them"
        )
    if is_named(error, _NOT_REACHED):
        return _unreached(one_line(error))
    if is_named(error, _NOT_RENEWED):
        return _fault(f"{one_line(error)}; does the service that gives the role's credentials answer?", passing=True)
    if is_named(error, _OTHER):
        return _fault(one_line(error))
    return _polars_fault(error)


def _polars_fault(error: BaseException) -> Fault | None:
    """Polars raises `OSError` or its own errors, and only their words tell what the store answered."""
    if isinstance(error, FileNotFoundError) or not _POLARS.search(words := str(error)):
        return None
    status, code = _STATUS.search(words), _CODE.search(words)
    if status is None:
        return _unreached(one_line(error))
    return _answered(code[1] if code else status[1], words.splitlines()[0], int(status[1]))


def _answered(code: str, message: str, status: int) -> Fault:
    said = f"the store answers {code} ({message})"
    if code == "NoSuchBucket":
        return _fault(f"{said}; create the bucket or correct its name")
    if code in _UNKNOWN_KEY:
        return _fault(f"{said}; correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE)")
    if code in _RENEWED:
        return _fault(f"{said}; try again once the credentials are renewed", passing=True)
    return _fault(said, passing=code in PASSING_CODES or passes(status))


def _unreached(words: str) -> Fault:
    return _fault(f"{words}; is it running, and is AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL its address?", passing=True)


def _fault(message: str, *, passing: bool = False) -> Fault:
    return Fault(message=f"object store: {message}", passing=passing)
