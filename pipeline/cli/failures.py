"""How every command ends: what went wrong as one message on stderr, and an exit status (docs/commands.md)."""

import errno
import traceback
from collections.abc import Callable

import typer
from rich.console import Console

from pipeline.errors import InputError, MicrorecError

DISK_PROBLEMS = {errno.ENOSPC: 1, errno.EDQUOT: 1, errno.EROFS: InputError.exit_status}
"""What a disk may answer, and the exit status: room can be made, a read-only store was named by mistake."""


def exit_status(command: Callable[[], int | None]) -> int:
    """Run the command line; what it could not do is said, and told by the status."""
    from features.errors import FeatureError

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return command() or 0
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except (MicrorecError, FeatureError) as error:
        errors.print(f"microrec: {error}", markup=False)
        return error.exit_status if isinstance(error, MicrorecError) else InputError.exit_status
    except PermissionError as error:
        what = f"{error.filename or ''}: no permission ({error.strerror or error})"
        errors.print(f"microrec: {_store_problem(error) or what}", markup=False)
        return InputError.exit_status
    except Exception as error:  # noqa: BLE001  the last resort: usage errors of typer, and anything unexpected
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):
            errors.print(f"microrec: {error.format_message()}", markup=False)
            return int(error.exit_code)
        if isinstance(error, OSError) and error.errno in DISK_PROBLEMS:
            errors.print(f"microrec: {error.filename or 'writing failed'}: {error.strerror}", markup=False)
            return DISK_PROBLEMS[error.errno]
        if reason := _store_problem(error):
            errors.print(f"microrec: {reason}", markup=False)
        else:
            traceback.print_exc()
        return 1


def _store_problem(error: Exception) -> str | None:
    """What an object store that failed half-way has to say; what is wrong from the start is an `InputError`."""
    from pipeline.storage.object_store import explain

    reason = explain(error)
    return reason and f"object store: {reason}"
