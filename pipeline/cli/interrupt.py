"""Ctrl-C as an exception that no library takes for damage.

Python raises KeyboardInterrupt between any two of its instructions. Where polars calls Python back, its code in Rust
makes a panic of it, several pages long, which reads like a file that cannot be read.
"""

import os
import signal
import threading
from types import FrameType

LATER = 0.01
"""Seconds after which an interrupt is tried again."""


def spare_polars() -> None:
    """Raise KeyboardInterrupt once polars has returned; a Ctrl-C that is ignored or taken otherwise stays so.

    Long queries are interrupted by polars itself.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _within_polars(frame):
        raise KeyboardInterrupt
    again = threading.Timer(LATER, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _within_polars(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("polars."):
            return True
        frame = frame.f_back
    return False
