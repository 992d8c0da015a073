"""How every command ends: what went wrong as one message on stderr, and an exit status (docs/commands.md)."""

import errno
import traceback
from collections.abc import Callable

import typer
from rich.console import Console

from pipeline.errors import InputError, MicrorecError, PassingError
from pipeline.faults.find import find_fault


def exit_status(command: Callable[[], int | None]) -> int:
    """Run the command line; what it could not do is said, and told by the status."""
    try:
        return command() or 0
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:  # noqa: BLE001  the last resort: whatever a library raises
        told = _own_error(error) or _usage_error(error) or _fault(error) or _refused_by_disk(error)
        if told is None:
            traceback.print_exc()
            return MicrorecError.exit_status
        message, status = told
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"microrec: {message}", markup=False)
        return status


def _own_error(error: Exception) -> tuple[str, int] | None:
    """An error that this program raised; whatever it is told as, a fault behind it that may pass is tried again."""
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


def _fault(error: Exception) -> tuple[str, int] | None:
    """A store, a database, a server or the machine that failed half-way."""
    fault = find_fault(error)
    if fault is None:
        return None
    return fault.message, (PassingError if fault.passing else InputError).exit_status


def _refused_by_disk(error: Exception) -> tuple[str, int] | None:
    """A file that may not be touched, a disk that takes nothing: named by mistake."""
    if isinstance(error, PermissionError):
        return f"{error.filename or ''}: no permission ({error.strerror or error})", InputError.exit_status
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return f"{error.filename or 'writing failed'}: {error.strerror}", InputError.exit_status
    return None
