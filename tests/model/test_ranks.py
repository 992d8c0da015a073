import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from model.ranks import RankFailedError, joined, launch

CPU = torch.device("cpu")


def die_in_one():
    with joined(CPU) as columns:
        if columns.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        columns.total(torch.ones(1))


def fail_in_one(text):
    with joined(CPU) as columns:
        if columns.rank == 0:
            raise LookupError(text)
        columns.total(torch.ones(1))


def wait_long(folder):
    with joined(CPU):
        (folder / str(os.getpid())).touch()
        time.sleep(300)


def test_joined_without_torchrun_is_one_process():
    with joined(CPU) as columns:
        assert columns.count == 1
        assert float(columns.total(torch.ones(1))) == 1


def test_launch_process_that_is_killed_is_named_with_the_signal():
    with pytest.raises(RankFailedError, match=r"process 1 of 2 failed: .*SIGKILL"):
        launch(2, die_in_one)


def test_launch_exception_of_one_process_is_told_and_no_other():
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RankFailedError, match="process 0 of 2 failed: LookupError: no such thing") as caught:
        launch(2, fail_in_one, "no such thing")
    assert "fail_in_one" in caught.value.traceback
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_launch_signal_ends_every_process(tmp_path, number, status):
    program = (
        "import pathlib, sys; from model.ranks import launch; from tests.model.test_ranks import wait_long\n"
        "launch(2, wait_long, pathlib.Path(sys.argv[1]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        parent.send_signal(number)
        assert parent.wait(60) == status
        wait_until(lambda: not any(alive(int(file.name)) for file in tmp_path.iterdir()))
    finally:
        parent.kill()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)
