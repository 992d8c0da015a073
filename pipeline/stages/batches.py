"""Contents read and prepared for an encoder, in batches whose order does not depend on which process prepares them.

On a CPU the encoder's threads use every core, and each layer waits for a thread whose core was taken. So there a batch
is prepared on every core right before it is encoded, while the next one is read. Beside a GPU batches are
prepared ahead, and many pictures in processes: preparing is many short calls, of which Python makes one at a time
(docs/decisions/0022-gpu.md).
"""

import contextlib
import itertools
import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, cast

from features.encoder import Encoder
from features.pictures import UnreadableError
from pipeline.catalogue.contents import Content, UnreadPicture
from pipeline.catalogue.pictures import READERS
from pipeline.errors import MicrorecError

MANY = 4000
"""Pictures from which on processes are worth their start, about two seconds."""
PER_TASK = 32
"""Pictures that a process reads and prepares at once."""
PROCESSES = 8
"""At most: they prepare more than any one encoder takes, and each loads what reads pictures."""

Batch = list[tuple[Any, Any]]
"""Of every content what it is (a text's hash, a picture's `PictureRead`, None of one that is gone), and what the
encoder takes, an `UnreadableError`, or None of one that is skipped or gone."""
_Contents = Sequence[Content] | Sequence[UnreadPicture]
_Begun = Callable[[], Iterable[tuple[Any, Any]]]
_Begin = Callable[[_Contents], _Begun]


def _nothing(_: Any) -> bool:
    return False


@dataclass(frozen=True)
class _Work:
    """What is done with a content that has been read."""

    prepare: Callable[[Any], Any]
    skips: Callable[[Any], bool]

    def __call__(self, load: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        what, payload = load()
        if payload is None or self.skips(what):
            return what, None
        try:
            return what, self.prepare(payload)
        except UnreadableError as error:
            return what, error


def prepared_batches(
    groups: Iterable[_Contents],
    encoder: Encoder,
    batch_size: int,
    num_contents: int,
    many: int = MANY,
    skips: Callable[[Any], bool] = _nothing,
) -> Generator[tuple[Batch, bool], None, None]:
    """Yield every batch, and whether a group of contents ends with it.

    Args:
        num_contents: of all groups.
        many: contents from which on processes prepare them, where the encoder says that they can.
        skips: whether what was read need not be prepared; it goes to the processes.
    """
    work = _Work(encoder.prepare, skips)
    with ExitStack() as stack:
        in_processes = num_contents >= many and encoder.prepare_in_processes and encoder.device != "cpu"
        in_processes = in_processes and not multiprocessing.current_process().daemon
        begin, ahead = (_with_processes if in_processes else _with_threads)(stack, encoder, work, batch_size)
        waiting: deque[tuple[_Begun, bool]] = deque()
        for contents, ends_group in _batches(groups, batch_size):
            waiting.append((begin(contents), ends_group))
            if len(waiting) > ahead:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)


def _batches(groups: Iterable[_Contents], batch_size: int) -> Iterator[tuple[_Contents, bool]]:
    for group in groups:
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size], start + batch_size >= len(group)


def _finished(waiting: deque[tuple[_Begun, bool]]) -> tuple[Batch, bool]:
    finish, ends_group = waiting.popleft()
    return list(finish()), ends_group


def _with_threads(stack: ExitStack, encoder: Encoder, work: _Work, batch_size: int) -> tuple[_Begin, int]:
    """What begins a batch, and how many are begun while one is encoded."""
    readers = stack.enter_context(ThreadPoolExecutor(READERS))
    preparers = stack.enter_context(ThreadPoolExecutor(encoder.preparers))
    return partial(_begin_in_threads, readers, preparers, work, encoder.device), 1


def _with_processes(stack: ExitStack, encoder: Encoder, work: _Work, batch_size: int) -> tuple[_Begin, int]:
    number = min(PROCESSES, encoder.preparers)
    processes = _Processes()
    stack.callback(processes.end)
    processes.start(number, work)
    return processes.begin, 1 + 2 * number * PER_TASK // batch_size


def _begin_in_threads(
    readers: ThreadPoolExecutor, preparers: ThreadPoolExecutor, work: _Work, device: str, batch: _Contents
) -> _Begun:
    loaded = [readers.submit(content.load) for content in batch]

    def prepare() -> Iterator[tuple[Any, Any]]:
        return preparers.map(lambda future: work(future.result), loaded)

    if device == "cpu":
        return prepare
    prepared = prepare()
    return lambda: prepared


class _Processes:
    """New processes, not forked ones: this one has threads, of encoder, data frames and object store.

    Parts of a batch go round, and come back in that order over a pipe each, to the thread that encodes: no other
    thread, as an executor's own would be, takes turns with it while it encodes.
    """

    def __init__(self) -> None:
        self._processes: list[SpawnProcess] = []
        self._connections: list[Connection] = []
        self._waiting: deque[_Contents] = deque()
        self._asked = self._answered = 0

    def start(self, number: int, work: _Work) -> None:
        """Start them."""
        context = multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # the first process would, and unblock the signal for it
        for _ in range(number):
            here, there = context.Pipe()
            self._connections.append(here)
            process = context.Process(target=_serve, args=(there, work), daemon=True)
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # there: Ctrl-C is for this process
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            self._processes.append(process)
            there.close()

    def begin(self, batch: _Contents) -> _Begun:
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
        if isinstance(answer, _Failed):
            raise answer.error from answer.cause
        self._answered += 1
        self._ask()
        return cast("Batch", answer)

    def end(self) -> None:
        """End them, whatever they are at."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.join()


@dataclass(frozen=True)
class _Failed:
    """What went wrong in a process."""

    error: Exception
    cause: BaseException | None


@contextlib.contextmanager
def _told_of_its_end() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise MicrorecError(
            "a process that prepares pictures died, perhaps because memory ran out; run `microrec extract` again: "
            "what is encoded stays"
        ) from error


def _serve(connection: Connection, work: _Work) -> None:
    """Prepare part after part until the first process closes the connection."""
    with contextlib.suppress(EOFError, OSError), ThreadPoolExecutor(READERS // 4) as readers:
        while True:
            contents = connection.recv()
            connection.send(_prepare_some(readers, work, contents))


def _prepare_some(readers: ThreadPoolExecutor, work: _Work, contents: _Contents) -> Batch | _Failed:
    """Several are read at once, for a store that answers late."""
    loaded = [readers.submit(content.load) for content in contents]
    try:
        return [work(future.result) for future in loaded]
    except Exception as error:  # noqa: BLE001  raised again where it is received
        failed = _Failed(error, error.__cause__)
    try:
        return cast("_Failed", pickle.loads(pickle.dumps(failed)))
    except Exception:  # noqa: BLE001  whatever hinders it from being sent
        return _Failed(MicrorecError(f"{type(failed.error).__name__}: {failed.error}"), None)
