import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from microrec_command import RefusedError, find_microrec, run_microrec


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A real program in microrec's place, with the body given."""

    def write(body):
        script = tmp_path / "microrec"
        # Shell and Python at once: a path with a blank may not stand behind #!.
        start = f"#!/bin/sh\n'''exec' '{sys.executable}' \"$0\" \"$@\"\n' '''\n"
        script.write_text(f"{start}import json, sys, time, os\n{body}\n")
        script.chmod(0o755)
        monkeypatch.setenv("MICROREC_BIN", str(script))
        return script

    return write


def test_run_microrec_success_returns_json_and_streams_stderr_with_its_label(stand_in, caplog):
    script = stand_in("print('a line', file=sys.stderr); print(json.dumps({'arguments': sys.argv[1:]}))")
    with caplog.at_level(logging.INFO):
        assert run_microrec(["train", "-v"], "x train") == {"arguments": ["train", "-v", "--json"]}
    assert caplog.messages == [f"[x train] running {script} train -v --json", "[x train] a line"]


@pytest.mark.parametrize(("status", "retried"), [(1, True), (2, False), (3, False), (130, True)])
def test_run_microrec_failure_is_retried_only_where_that_may_help(stand_in, status, retried):
    stand_in(f"print('the reason', file=sys.stderr); sys.exit({status})")
    with pytest.raises(AirflowException, match=f"status {status}: the reason") as raised:
        run_microrec(["train"], "x train")
    assert isinstance(raised.value, AirflowFailException) != retried


@pytest.mark.parametrize(("printed", "result"), [("print(json.dumps({'checks': 1}))", {"checks": 1}), ("pass", None)])
def test_run_microrec_refusal_hands_on_what_was_printed(stand_in, printed, result):
    stand_in(f"{printed}; print('the reason', file=sys.stderr); sys.exit(3)")
    with pytest.raises(RefusedError, match="status 3: the reason") as raised:
        run_microrec(["validate"], "x validate")
    assert raised.value.result == result


def test_run_microrec_airflow_settings_stay_out_of_the_command(stand_in, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    stand_in("print(json.dumps({'names': [n for n in os.environ if n.startswith('AIRFLOW')]}))")
    assert run_microrec(["validate"], "x validate") == {"names": []}


def test_find_microrec_missing_command_says_which_setting(monkeypatch):
    monkeypatch.setenv("MICROREC_BIN", "/nowhere/microrec")
    with pytest.raises(AirflowFailException, match="set MICROREC_BIN"):
        find_microrec()


# Airflow's task runner handles SIGTERM by calling the operator's `on_kill`, which does nothing for a task function.
AIRFLOW_HANDLER = "import signal; signal.signal(signal.SIGTERM, lambda number, frame: None)"


@pytest.mark.parametrize(
    ("blow", "handler"), [(signal.SIGTERM, "pass"), (signal.SIGTERM, AIRFLOW_HANDLER), (signal.SIGKILL, "pass")]
)
def test_run_microrec_killed_task_takes_the_command_with_it(stand_in, tmp_path, blow, handler):
    stand_in(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    code = f"{handler}\nfrom microrec_command import run_microrec\nrun_microrec(['train'], 'x train')"
    task = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    pid_file = tmp_path / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    child = int(pid_file.read_text())
    task.send_signal(blow)
    task.wait(timeout=30)
    wait_until(lambda: not alive(child))


def wait_until(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
