"""How every command ends: what went wrong as one message on stderr, and an exit status (docs/reference/commands.md)."""

import errno
import os
import sys
import traceback
from collections.abc import Callable

from pipeline.addresses import masked
from pipeline.cli.interrupt import Terminated
from pipeline.errors import InputError, MicrorecError, PassingError
from pipeline.faults.fault import one_line
from pipeline.faults.find import find_fault
from pipeline.terminal import Terminal


class Interrupted(BaseException):
    """Carries a KeyboardInterrupt, its cause, past code that would take it for Ctrl-C."""


def exit_status(command: Callable[[], int | None]) -> int:
    """Run the command line; a failure is one message, and the status tells its kind."""
    try:
        return command() or 0
    except (Interrupted, KeyboardInterrupt) as stop:
        if isinstance(stop.__cause__ or stop, Terminated):
            Terminal(stderr=True).print(Terminated.message)
            return Terminated.exit_status
        return 130
    except Exception as error:  # noqa: BLE001  the last resort: whatever a library raises
        told = _own_error(error) or _usage_error(error) or _fault(error) or _refused_by_disk(error)
        if told is None:
            sys.stderr.write(masked(traceback.format_exc(), os.environ))
            return MicrorecError.exit_status
        message, status = told
        return _say(message, status)
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":  # by name: Polars itself is not loaded for it
            raise
        return _say(*(_fault(panic) or _panic(panic)))


def _panic(panic: BaseException) -> tuple[str, int]:
    mend = "a file that it reads may be damaged: `microrec validate` and `microrec verify` look"
    return f"Polars failed internally ({one_line(panic)}); {mend}", MicrorecError.exit_status


def _say(message: str, status: int) -> int:
    Terminal(stderr=True, soft_wrap=True).print(masked(f"microrec: {message}", os.environ))
    return status


def _own_error(error: Exception) -> tuple[str, int] | None:
    """An error that this program raised; if a temporary fault is behind it, the status says to try again."""
    from features.errors import FeatureError

    if not isinstance(error, MicrorecError | FeatureError):
        return None
    status = error.exit_status if isinstance(error, MicrorecError) else InputError.exit_status
    fault = find_fault(error) if status == InputError.exit_status else None
    return str(error), PassingError.exit_status if fault and fault.passing else status


def _usage_error(error: Exception) -> tuple[str, int] | None:
    """What typer says of wrong arguments."""
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):
        return error.format_message(), int(error.exit_code)
    return None


def _fault(error: BaseException) -> tuple[str, int] | None:
    """A store, a database, a server or the machine that failed half-way."""
    fault = find_fault(error)
    if fault is None:
        return None
    return fault.message, (PassingError if fault.passing else InputError).exit_status


def _refused_by_disk(error: Exception) -> tuple[str, int] | None:
    """A file without permission, or a disk that takes nothing: probably named by mistake."""
    if isinstance(error, PermissionError):
        return f"{error.filename or ''}: no permission ({error.strerror or error})", InputError.exit_status
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EFBIG):
        return f"{error.filename or 'writing failed'}: {error.strerror}", InputError.exit_status
    return None
