"""Faults of HTTP, of sockets and of the machine."""

import errno
import http.client
import re
import socket
import urllib.error

from pipeline.faults.fault import Fault, is_named, one_line, passes

_HTTP = frozenset(
    {
        *(("requests", name) for name in ("ConnectionError", "Timeout", "RetryError", "ChunkedEncodingError")),
        *((package, name) for package in ("httpx", "httpx2") for name in ("NetworkError", "TimeoutException")),
        *((package, "RemoteProtocolError") for package in ("httpx", "httpx2")),
        *(("urllib3", name) for name in ("MaxRetryError", "ProtocolError", "TimeoutError", "NewConnectionError")),
        *(("aiohttp", name) for name in ("ClientConnectionError", "ClientPayloadError")),
    }
)
_OFFLINE = frozenset({("huggingface_hub", "OfflineModeIsEnabled")})
ERRNOS = frozenset(
    {
        *(errno.EAGAIN, errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    }
)
"""What the system says of a disk or a network that may be otherwise in a minute."""
_NUMBER = re.compile(r"\(os error (\d+)\)")
_FULL = re.compile(r"No space left on device|Disk quota exceeded|\d+ requested and \d+ written")
"""What libraries say of a full disk: those in Rust by its number, faiss by words, NumPy by counts."""
_TOO_MANY_FILES = re.compile("too many open files", re.I)
"""What Polars says of a limit of open files when it panics."""
_SHORT = re.compile("failed to map segment|cannot allocate memory|too many open files|cannot enable executable", re.I)
"""What the dynamic loader says where it has no room for a library."""
_NO_MEMORY = re.compile("can(not|'t) allocate memory|failed to allocate|failed to map segment", re.I)
"""What torch and OpenVINO say, which raise no `MemoryError`."""


def network_fault(error: BaseException, deeper: Fault | None) -> Fault | None:
    """What an error of an HTTP client, a socket, a disk or the memory means; None for any other."""
    if is_named(error, _OFFLINE):
        return Fault(message=f"{one_line(error)}; HF_HUB_OFFLINE is set", passing=False)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return Fault(message=f"not enough memory ({one_line(error)}); end other programs, or use less", passing=True)
    if isinstance(error, ImportError) and _SHORT.search(str(error)):
        mend = "end other programs, or allow more memory and open files"
        return Fault(message=f"a library cannot be loaded ({one_line(error)}); {mend}", passing=True)
    status = _status(error)
    if status is not None and status >= 400:
        return Fault(message=one_line(error), passing=passes(status))
    if deeper:
        return deeper
    if is_named(error, _HTTP) or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return Fault(message=one_line(error), passing=True)
    if isinstance(error, http.client.HTTPException | urllib.error.ContentTooShortError):
        return Fault(message=one_line(error), passing=True)
    if isinstance(error, OSError) and error.errno in ERRNOS:
        where = error.filename or "reading or writing failed"
        return Fault(message=f"{where}: {error.strerror or one_line(error)}", passing=True)
    return _told_by_library(error)


def _told_by_library(error: BaseException) -> Fault | None:
    """What a library has from the system and tells in words only: safetensors, Polars, faiss, NumPy."""
    if isinstance(error, OSError) and error.errno:
        return None
    words = one_line(error)
    if _TOO_MANY_FILES.search(words):
        return Fault(message=f"no more files can be opened ({words}); allow more (`ulimit -n`)", passing=True)
    number = int(found[1]) if (found := _NUMBER.search(words)) else None
    if number in ERRNOS or _FULL.search(words):
        return Fault(message=f"a file cannot be read or written ({words}); is the disk full?", passing=True)
    if number == errno.EFBIG:
        return Fault(message=f"a file cannot be written ({words}); the system limits its size", passing=False)
    return None


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of an HTTP client carries."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
