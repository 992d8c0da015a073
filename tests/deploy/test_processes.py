import json
import os
import signal
import subprocess
import sys
import time

import pytest

from deploy.processes import Processes, proc_stat

SLEEP = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(60)",
]


@pytest.fixture
def processes(tmp_path):
    processes = Processes(tmp_path)
    yield processes
    processes.stop(processes.names(), 0)


def begin(processes, name, command):
    pid = processes.start(name, command, {})
    while "begun" not in processes.last_lines(name):
        time.sleep(0.05)
    return pid


def test_start_and_stop_leave_nothing_behind(processes):
    pid = begin(processes, "sleeper", SLEEP)
    assert processes.running("sleeper") == pid
    assert processes.is_current("sleeper", SLEEP, {})
    assert not processes.is_current("sleeper", SLEEP, {"CHANGED": "1"})
    assert processes.stop(["sleeper"], 10) == ["sleeper"]
    assert processes.running("sleeper") is None
    assert processes.names() == []
    assert processes.stop(["sleeper"], 10) == []


def test_stop_ends_what_does_not_listen(processes):
    begin(processes, "stubborn", STUBBORN)
    assert processes.stop(["stubborn"], 0.5) == ["stubborn"]
    assert processes.running("stubborn") is None


def test_stop_ends_children_in_groups_of_their_own(processes):
    child = "import os, time; os.setpgid(0, 0); print('child', os.getpid(), flush=True); time.sleep(60)"
    command = [
        sys.executable,
        "-c",
        f"import subprocess, sys; print('begun'); subprocess.run([sys.executable, '-c', {child!r}])",
    ]
    processes.start("parent", command, {})
    while "child" not in (said := processes.last_lines("parent")):
        time.sleep(0.05)
    processes.stop(["parent"], 5)
    pid = int(said.split("child")[1].split()[0])
    while proc_stat(pid):
        time.sleep(0.05)


def test_running_stale_pid_file_is_not_taken_for_the_process_that_has_the_pid_now(processes):
    pid = begin(processes, "sleeper", SLEEP)
    record = processes.folder / "pids" / "sleeper.json"
    document = json.loads(record.read_text())
    bystander = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL, start_new_session=True)
    record.write_text(json.dumps({**document, "pid": bystander.pid, "birth": "0"}))
    assert processes.running("sleeper") is None
    assert processes.stop(["sleeper"], 1) == []
    assert bystander.poll() is None
    for ours in (bystander.pid, pid):
        os.kill(ours, signal.SIGKILL)
    bystander.wait()


@pytest.mark.parametrize("content", ["", "{", "17"])
def test_running_damaged_pid_file_counts_as_ended(processes, content):
    record = processes.folder / "pids" / "x.json"
    record.parent.mkdir()
    record.write_text(content)
    assert processes.running("x") is None


def test_start_child_survives_ctrl_c_of_its_starter(processes):
    pid = begin(processes, "sleeper", SLEEP)
    assert os.getsid(pid) == pid
