"""Contents read and prepared for an encoder, batch after batch, in an order that does not depend on who prepares them.

On a CPU the encoder's threads have every core, and each layer waits for the one whose core was taken: there a batch is
prepared, on every core, right before it is encoded, the next one being read meanwhile. Beside a GPU batches are
prepared ahead, and many pictures in processes: preparing is many short calls, of which Python makes one at a time
(docs/decisions/0010-speed.md).
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

from features.encoder import Encoder
from features.pictures import UnreadableError
from pipeline.contents import READERS, Content

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
        processes = _processes(encoder.preparers)
        stack.callback(processes.shutdown, cancel_futures=True)
        ahead = 1 + -(-2 * encoder.preparers * PER_TASK // batch_size)
        return partial(_begin_in_processes, processes, encoder.prepare), ahead
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


def _begin_in_processes(
    processes: ProcessPoolExecutor, prepare: Callable[[Any], Any], batch: Sequence[Content]
) -> _Begun:
    parts = [batch[start : start + PER_TASK] for start in range(0, len(batch), PER_TASK)]
    begun = [processes.submit(_prepare_some, prepare, part) for part in parts]
    return lambda: chain.from_iterable(part.result() for part in begun)


def _processes(number: int) -> ProcessPoolExecutor:
    """New processes: forked from one that has no threads, unlike this one, and that has loaded what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(number, context, _start_process)


def _start_process() -> None:
    """Leave Ctrl-C to the first process, and end when that is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _prepare_some(prepare: Callable[[Any], Any], contents: Sequence[Content]) -> Batch:
    """Several are read at once, for a store that answers late."""
    with ThreadPoolExecutor(READERS // 4) as readers:
        payloads = [readers.submit(content.read) for content in contents]
        return [_prepare(prepare, content, payload.result) for content, payload in zip(contents, payloads, strict=True)]
