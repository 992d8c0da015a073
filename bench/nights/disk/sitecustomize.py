"""A disk that fails, for a command that is started with this folder in PYTHONPATH.

While the file `NIGHTS_DISK_FAULT` is there, what Python opens, makes, lists, renames or removes under `NIGHTS_DISK`
fails with the errno `NIGHTS_DISK_ERRNO`; where that says that the disk is full, only what writes.
"""

import errno
import os
import sys
from typing import Any

_ROOT, _FAULT = os.environ.get("NIGHTS_DISK", ""), os.environ.get("NIGHTS_DISK_FAULT", "")
_ERRNO = int(os.environ.get("NIGHTS_DISK_ERRNO", errno.EIO))
_EVENTS = frozenset({"open", "os.mkdir", "os.listdir", "os.scandir", "os.rename", "os.remove"})


def _fail(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _EVENTS or not os.path.exists(_FAULT):  # noqa: PTH110  pathlib is audited as well
        return
    path = arguments[0]
    if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(_ROOT) and _hits(event, arguments):
        raise OSError(_ERRNO, os.strerror(_ERRNO), str(path))


def _hits(event: str, arguments: tuple[Any, ...]) -> bool:
    if _ERRNO != errno.ENOSPC:
        return True
    return event == "os.mkdir" or (event == "open" and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)))


if _ROOT and _FAULT:
    sys.addaudithook(_fail)
