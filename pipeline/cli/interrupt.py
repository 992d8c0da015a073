"""Ctrl-C and SIGTERM as exceptions that no library takes for damage.

Python raises KeyboardInterrupt between any two of its instructions. If polars has called Python, its Rust code turns
that into a panic of several pages, which looks like a file that cannot be read.
"""

import os
import signal
import threading
import time
from types import FrameType

LATER = 0.01
"""Seconds after which an interrupt is tried again."""
SAME = 1.0
"""Seconds in which a further SIGTERM is the same one: `timeout`, and who ends a whole group, send it twice."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: an orchestrator ends the command, which tidies up as it does after Ctrl-C."""

    exit_status = 128 + signal.SIGTERM
    message = "microrec: ended by SIGTERM"


def take_signals() -> None:
    """Raise KeyboardInterrupt, or Terminated, once polars has returned; a signal that is taken otherwise stays so.

    Long queries are interrupted by polars itself. A second SIGTERM, `SAME` seconds later, ends the process at once.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _within_polars(frame):
        if number == signal.SIGTERM:
            signal.signal(signal.SIGTERM, _Impatience())
            raise Terminated
        raise KeyboardInterrupt
    again = threading.Timer(LATER, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


class _Impatience:
    """What a further SIGTERM does while the command tidies up."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._since > SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _within_polars(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("polars."):
            return True
        frame = frame.f_back
    return False
