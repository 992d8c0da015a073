"""A bound on decoded pixels that are in memory together, however many threads decode."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Lets threads decode while all of them together hold no more than so many pixels.

    A picture that alone has more waits until nothing else is held, and then takes all the room.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Wait for room, and hold it."""
        with self._freed:
            self._freed.wait_for(lambda: self._held == 0 or self._held + pixels <= self.limit)
            self._held += pixels
        try:
            yield
        finally:
            with self._freed:
                self._held -= pixels
                self._freed.notify_all()
