import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from features.encoder import Encoder
from features.pictures import UnreadableError
from pipeline.contents import Content
from pipeline.errors import MicrorecError
from pipeline.prepared import PER_TASK, prepared_batches

GONE = 999_999


def encoder_on(device, prepare):
    return Encoder(1, prepare, lambda prepared: np.zeros((len(prepared), 1)), device)


def read(number):
    if number == GONE:
        raise OSError("the store is gone")
    return str(number)


def squared(text):
    if text == "7":
        raise UnreadableError("seven")
    return int(text) ** 2


def groups(*sizes):
    start = 0
    for size in sizes:
        yield [Content(f"c{number}", partial(read, number)) for number in range(start, start + size)]
        start += size


@pytest.mark.parametrize(("device", "in_processes"), [("cpu", False), ("cpu", True), ("cuda", False), ("cuda", True)])
def test_prepared_batches_same_whoever_prepares(device, in_processes):
    sizes, batch_size = (150, 150, 20), 50
    batches = list(prepared_batches(groups(*sizes), encoder_on(device, squared), batch_size, in_processes))
    assert [(len(batch), ends) for batch, ends in batches] == [
        (50, False), (50, False), (50, True), (50, False), (50, False), (50, True), (20, True),
    ]  # fmt: skip
    found = [entry for batch, _ in batches for entry in batch]
    assert [digest for digest, _ in found] == [f"c{number}" for number in range(320)]
    assert [value for _, value in found[:7]] == [0, 1, 4, 9, 16, 25, 36]
    assert isinstance(found[7][1], UnreadableError)
    assert str(found[7][1]) == "seven"
    assert found[319][1] == 319**2


@pytest.mark.parametrize("in_processes", [False, True])
def test_prepared_batches_what_cannot_be_read_is_raised(in_processes):
    contents = [Content("c", partial(read, number)) for number in (*range(300), GONE)]
    batches = prepared_batches([contents], encoder_on("cuda", squared), 100, in_processes)
    assert sum(len(next(batches)[0]) for _ in range(3)) == 300
    with pytest.raises(OSError, match="the store is gone"):
        next(batches)


@pytest.mark.parametrize(("device", "ahead"), [("cpu", False), ("cuda", True)])
def test_next_batch_is_read_ahead_and_prepared_ahead_on_a_gpu_only(device, ahead):
    read, prepared = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(4)]

    def content(number):
        return Content(str(number), lambda: read[number].set() or str(number))

    encoder = encoder_on(device, lambda text: prepared[int(text)].set() or text)
    batches = prepared_batches([[content(number) for number in range(4)]], encoder, 2, in_processes=False)
    assert next(batches) == ([("0", "0"), ("1", "1")], False)
    assert all(event.wait(10) for event in read)
    assert prepared[3].wait(10 if ahead else 0.2) == ahead
    assert next(batches) == ([("2", "2"), ("3", "3")], True)
    assert list(batches) == []


def killed(text):
    if text == "40":
        os.kill(os.getpid(), signal.SIGKILL)
    return text


def test_prepared_batches_a_process_that_is_killed_is_said():
    batches = prepared_batches(groups(500), encoder_on("cuda", killed), PER_TASK, in_processes=True)
    assert len(next(batches)[0]) == PER_TASK
    with pytest.raises(MicrorecError, match="was ended, perhaps for want of memory"):
        next(batches)


def test_prepared_batches_larger_than_what_pipes_hold():
    """A batch's parts are handed out as others come back, or both sides would wait for the other to read."""
    ((batch, ends),) = prepared_batches(groups(40_000), encoder_on("cuda", str), 40_000, in_processes=True)
    assert len(batch) == 40_000
    assert ends


def process_id(_):
    return os.getpid()


def test_many_pictures_are_prepared_in_several_processes_that_end():
    encoder = encoder_on("cuda", process_id)
    (batch, _), *_ = prepared_batches(groups(8 * PER_TASK), encoder, 8 * PER_TASK, in_processes=True)
    processes = {process for _, process in batch}
    assert os.getpid() not in processes
    assert not any(alive(process) for process in processes)


def alive(process):
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"


WAITS = """
import time
from tests.pipeline.test_prepared import encoder_on, groups, process_id
from pipeline.prepared import prepared_batches
batches = prepared_batches(groups(5000), encoder_on("cuda", process_id), 64, in_processes=True)
batch, _ = next(batches)
print(*{process for _, process in batch}, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_first_one(number):
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        processes = first.stdout.readline().split()
        assert processes
        first.send_signal(number)
        first.wait(30)
    deadline = time.monotonic() + 30
    while any(alive(int(process)) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.1)
