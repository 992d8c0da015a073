import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from upath import UPath

from features.encoder import Encoder
from features.modality import ModalityConfig
from features.pictures import UnreadableError
from features.registry import find_encoder
from pipeline.catalogue.contents import Content, UnreadPicture
from pipeline.catalogue.pictures import Pictures
from pipeline.errors import MicrorecError
from pipeline.stages.batches import MANY, PER_TASK, PROCESSES, prepared_batches

GONE = 999_999


def encoder_on(device, prepare):
    return Encoder(1, prepare, lambda prepared: np.zeros((len(prepared), 1)), device, prepare_in_processes=True)


def read(number):
    if number == GONE:
        raise OSError("the store is gone") from ValueError("ExpiredToken")
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
    count = MANY if in_processes else MANY - 1
    batches = list(prepared_batches(groups(*sizes), encoder_on(device, squared), batch_size, count))
    assert [(len(batch), ends) for batch, ends in batches] == [
        (50, False), (50, False), (50, True), (50, False), (50, False), (50, True), (20, True),
    ]  # fmt: skip
    found = [entry for batch, _ in batches for entry in batch]
    assert [digest for digest, _ in found] == [f"c{number}" for number in range(320)]
    assert [value for _, value in found[:7]] == [0, 1, 4, 9, 16, 25, 36]
    assert isinstance(found[7][1], UnreadableError)
    assert str(found[7][1]) == "seven"
    assert found[319][1] == 319**2


@pytest.mark.parametrize("count", [1, MANY])
def test_prepared_batches_what_cannot_be_read_is_raised_with_its_cause(count):
    contents = [Content("c", partial(read, number)) for number in (*range(300), GONE)]
    batches = prepared_batches([contents], encoder_on("cuda", squared), 100, count)
    assert sum(len(next(batches)[0]) for _ in range(3)) == 300
    with pytest.raises(OSError, match="the store is gone") as raised:
        next(batches)
    assert str(raised.value.__cause__) == "ExpiredToken"


class OddError(Exception):
    def __init__(self, one, other):
        super().__init__(one)


def odd(text):
    raise OddError("odd", text)


def test_prepared_batches_an_error_that_cannot_be_sent_is_said_in_words():
    with pytest.raises(MicrorecError, match="OddError: odd"):
        next(prepared_batches(groups(5), encoder_on("cuda", odd), 5, MANY))


@pytest.mark.parametrize(("device", "ahead"), [("cpu", False), ("cuda", True)])
def test_next_batch_is_read_ahead_and_prepared_ahead_on_a_gpu_only(device, ahead):
    read, prepared = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(4)]

    def content(number):
        return Content(str(number), lambda: read[number].set() or str(number))

    encoder = encoder_on(device, lambda text: prepared[int(text)].set() or text)
    batches = prepared_batches([[content(number) for number in range(4)]], encoder, 2, 1)
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
    with pytest.raises(MicrorecError, match="died, perhaps because memory ran out"):
        list(prepared_batches(groups(500), encoder_on("cuda", killed), PER_TASK, MANY))


def large(text):
    return os.getpid(), bytes(1 << 20)


def test_prepared_batches_a_process_that_is_killed_while_it_sends_is_said():
    batches = prepared_batches(groups(1, 1), encoder_on("cuda", large), 1, MANY)
    ((_, (process, _)),), _ = next(batches)
    children = [child.pid for child in multiprocessing.active_children()]
    time.sleep(1)  # the other part's answer is larger than a pipe
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert process in children
    with pytest.raises(MicrorecError, match="died, perhaps because memory ran out"):
        next(batches)


@pytest.mark.timeout(120)
def test_prepared_batches_larger_than_what_pipes_hold():
    """A batch's parts are handed out as others come back, or both sides would wait for the other to read."""
    ((batch, ends),) = prepared_batches(groups(40_000), encoder_on("cuda", str), 40_000, MANY)
    assert len(batch) == 40_000
    assert ends


def process_id(_):
    return os.getpid()


def test_prepared_batches_many_pictures_in_several_processes_that_end():
    encoder = encoder_on("cuda", process_id)
    batches = prepared_batches(groups(8 * PER_TASK, 1), encoder, 8 * PER_TASK, MANY)
    batch, _ = next(batches)
    processes = {process for _, process in batch}
    assert len(processes) == min(PROCESSES, encoder.preparers)
    assert os.getpid() not in processes
    batches.close()
    assert not any(alive(process) for process in processes)


def test_prepared_batches_threads_where_an_encoder_does_not_ask_for_processes():
    encoder = Encoder(1, process_id, np.zeros, "cuda")
    ((batch, _),) = prepared_batches(groups(5), encoder, 5, MANY)
    assert {process for _, process in batch} == {os.getpid()}


@pytest.mark.parametrize("root", ["/pictures", "s3://bucket/pictures"])
def test_what_goes_to_processes_can_be_pickled(root):
    encoder = find_encoder("image", ModalityConfig(encoder="efficientnet-lite0", device="cpu")).load()
    assert encoder.prepare_in_processes
    content = UnreadPicture(Pictures(UPath(root)), "a.jpg")
    prepare, again = pickle.loads(pickle.dumps((encoder.prepare, content)))
    picture = io.BytesIO()
    Image.new("RGB", (300, 200), (9, 8, 7)).save(picture, "PNG")
    np.testing.assert_array_equal(prepare(picture.getvalue()), encoder.prepare(picture.getvalue()))
    assert again == content


def alive(process):
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"


WAITS = """
import time
from tests.pipeline.stages.test_batches import encoder_on, groups, process_id
from pipeline.stages.batches import MANY, prepared_batches
batches = prepared_batches(groups(5000), encoder_on("cuda", process_id), 64, MANY)
batch, _ = next(batches)
print(*{process for _, process in batch}, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_first_one(number):
    command = [sys.executable, "-c", WAITS]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        processes = first.stdout.readline().split()
        assert processes
        if number == signal.SIGINT:
            os.killpg(first.pid, number)  # as a terminal does
        else:
            first.send_signal(number)
        _, errors = first.communicate(timeout=30)
    assert errors.count("Traceback") == (number == signal.SIGINT)
    deadline = time.monotonic() + 30
    while any(alive(int(process)) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.1)
