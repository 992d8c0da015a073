"""Contents read and prepared for an encoder, batch after batch, in an order that does not depend on who prepares them.

On a CPU the encoder's threads have every core, and each layer waits for the one whose core was taken: there a batch is
prepared, on every core, right before it is encoded, the next one being read meanwhile. Beside a GPU batches are
prepared ahead, and many pictures in processes: preparing is many short calls, of which Python makes one at a time
(docs/decisions/0010-speed.md).
"""

import contextlib
import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, cast

from features.encoder import Encoder
from features.pictures import UnreadableError
from pipeline.contents import READERS, Content
from pipeline.errors import MicrorecError

MANY = 2000
"""Pictures from which on processes are worth their start, about a second."""
PER_TASK = 32
"""Pictures that a process reads and prepares at once."""

Batch = list[tuple[str, Any]]
"""Of every content its hash, and what the encoder takes, or an `UnreadableError`."""
_Begun = Callable[[], Iterable[tuple[str, Any]]]


def prepared_batches(
    groups: Iterable[Sequence[Content]], encoder: Encoder, batch_size: int, in_processes: bool
) -> Iterator[tuple[Batch, bool]]:
    """Yield every batch, and whether a group of contents ends with it.

    Args:
        in_processes: where the encoder computes on another device than the CPU; contents and `Encoder.prepare` are
            picklable then.
    """
    with ExitStack() as stack:
        begin, ahead = _beside(stack, encoder, batch_size, in_processes)
        waiting: deque[tuple[_Begun, bool]] = deque()
        for contents, ends_group in _batches(groups, batch_size):
            waiting.append((begin(contents), ends_group))
            if len(waiting) > ahead:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)


def _batches(groups: Iterable[Sequence[Content]], batch_size: int) -> Iterator[tuple[Sequence[Content], bool]]:
    for group in groups:
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size], start + batch_size >= len(group)


def _finished(waiting: deque[tuple[_Begun, bool]]) -> tuple[Batch, bool]:
    finish, ends_group = waiting.popleft()
    return list(finish()), ends_group


def _beside(
    stack: ExitStack, encoder: Encoder, batch_size: int, in_processes: bool
) -> tuple[Callable[[Sequence[Content]], _Begun], int]:
    """What begins a batch, and how many are begun while one is encoded."""
    if in_processes and encoder.device != "cpu":
        processes = _Processes(encoder.preparers, encoder.prepare)
        stack.callback(processes.end)
        return processes.begin, 1 + 2 * encoder.preparers * PER_TASK // batch_size
    readers = stack.enter_context(ThreadPoolExecutor(READERS))
    preparers = stack.enter_context(ThreadPoolExecutor(encoder.preparers))
    return partial(_begin_in_threads, readers, preparers, encoder), 1


def _begin_in_threads(
    readers: ThreadPoolExecutor, preparers: ThreadPoolExecutor, encoder: Encoder, batch: Sequence[Content]
) -> _Begun:
    payloads = [readers.submit(content.read) for content in batch]

    def prepare() -> Iterator[tuple[str, Any]]:
        return preparers.map(
            lambda content, payload: _prepare(encoder.prepare, content, payload.result), batch, payloads
        )

    if encoder.device == "cpu":
        return prepare
    prepared = prepare()
    return lambda: prepared


def _prepare(prepare: Callable[[Any], Any], content: Content, read: Callable[[], str | bytes]) -> tuple[str, Any]:
    try:
        return content.digest, prepare(read())
    except UnreadableError as error:
        return content.digest, error


class _Processes:
    """Processes that read and prepare, forked from one that has no threads, unlike this one.

    Parts of a batch go round, and come back in that order over a pipe each, to the thread that encodes: an executor's
    own thread, which receives meanwhile, takes Python from it for milliseconds at every operation of the encoder.
    """

    def __init__(self, number: int, prepare: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._processes, self._connections = [], []
        for _ in range(number):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, prepare), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)
        self._waiting: deque[Sequence[Content]] = deque()
        self._asked = self._answered = 0

    def begin(self, batch: Sequence[Content]) -> _Begun:
        """Take a batch into line; batches are finished in the order in which they were begun."""
        parts = [batch[start : start + PER_TASK] for start in range(0, len(batch), PER_TASK)]
        self._waiting += parts
        self._ask()
        return lambda: itertools.chain.from_iterable(self._answer() for _ in parts)

    def _ask(self) -> None:
        """Hand out what waits, two parts a process at most: more might fill a pipe that is not being read."""
        while self._waiting and self._asked < self._answered + 2 * len(self._connections):
            with _told_of_its_end():
                self._connections[self._asked % len(self._connections)].send(self._waiting.popleft())
            self._asked += 1

    def _answer(self) -> Batch:
        """Receive the part that was handed out first."""
        with _told_of_its_end():
            answer = self._connections[self._answered % len(self._connections)].recv()
        if isinstance(answer, Exception):
            raise answer
        self._answered += 1
        self._ask()
        return cast("Batch", answer)

    def end(self) -> None:
        """End them, whatever they are at."""
        for process, connection in zip(self._processes, self._connections, strict=True):
            connection.close()
            process.terminate()
            process.join()


@contextlib.contextmanager
def _told_of_its_end() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise MicrorecError(
            "a process that prepares pictures was ended, perhaps for want of memory; run `microrec extract` again: "
            "what is encoded stays"
        ) from error


def _serve(connection: Connection, prepare: Callable[[Any], Any]) -> None:
    """Prepare part after part until the first process, whose Ctrl-C this is none of, closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            contents = connection.recv()
            try:
                answer: Batch | Exception = _prepare_some(prepare, contents)
            except Exception as error:  # noqa: BLE001  raised again where it is received
                answer = error
            connection.send(answer)


def _prepare_some(prepare: Callable[[Any], Any], contents: Sequence[Content]) -> Batch:
    """Several are read at once, for a store that answers late."""
    with ThreadPoolExecutor(READERS // 4) as readers:
        payloads = [readers.submit(content.read) for content in contents]
        return [_prepare(prepare, content, payload.result) for content, payload in zip(contents, payloads, strict=True)]
