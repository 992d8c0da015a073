"""SIGKILL in the middle of the night. Whatever dies, the night ends in the very release of an undisturbed one, and
nothing that was finished is computed again."""

import os
import select
import signal
import time

import pytest

from deploy.processes import proc_stat
from tests.deploy.drill import Drill, kill_service
from tests.deploy.stack import CONSUMER, wait_for

GPU_WORKER = "gpu-worker-on-cpu"
SECONDS_AWAY = 20
"""How long a server stays dead."""
pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def calm(stack):
    """The undisturbed night."""
    stack.pause(CONSUMER)  # it reads the store that the configuration names
    return Drill.begin(stack, "calm").finish()


def assert_done_once(night, calm, *but):
    """Every content was encoded once, and no task but those named was tried twice."""
    assert night.digest == calm.digest
    if "extract_image" not in but:
        assert night.encoded == calm.encoded
    again = {task for task in night.states if max(night.attempts(task)) > 1}
    assert again <= set(but), again


def test_mapped_task_killed_encodes_only_what_was_not_published(stack, calm):
    drill = Drill.begin(stack, "mapped-task")
    wait_for(lambda: drill.parts("image"))
    drill.kill_tasks("extract", "image")
    lost = drill.num_encoded("image") - drill.num_committed("image")
    assert lost > 0
    night = drill.finish()
    assert_done_once(night, calm, "extract_image")
    assert max(night.attempts("extract_image")) == 2
    assert night.encoded["extract_image"] == calm.encoded["extract_image"] - lost
    assert night.encoded["extract_text"] == calm.encoded["extract_text"]


def test_training_task_killed_goes_on_from_its_last_checkpoint(stack, calm):
    drill = Drill.begin(stack, "training-task")
    wait_for(drill.checkpoints)
    drill.kill_tasks("train")
    last = drill.checkpoints()[-1]
    night = drill.finish()
    assert_done_once(night, calm, "train")
    assert drill.resumed(2) == last


def test_gpu_worker_killed_with_all_it_runs_training_goes_on_from_its_last_checkpoint(stack, calm):
    drill = Drill.begin(stack, "gpu-worker")
    wait_for(drill.checkpoints)
    kill_service(stack, GPU_WORKER)
    last = drill.checkpoints()[-1]
    assert not drill.commands("train")
    stack.run("up")
    night = drill.finish()
    assert_done_once(night, calm, "train")
    assert drill.resumed(2) == last


def test_orphaned_training_beside_its_retry_gives_one_release(stack, calm):
    drill = Drill.begin(stack, "orphan")
    wait_for(drill.checkpoints)
    (orphan,) = drill.commands("train")
    task = int(proc_stat(orphan)[1])
    supervisor = int(proc_stat(task)[1])
    # The worker and the processes that watch over its tasks die; task and command, in a group of their own, do not.
    # They freeze, and the command wakes up beside its retry. Frozen after that death: a stopped group that loses its
    # parents is hung up; and at once, for a task that has a line to write finds that nobody reads it, and ends. The
    # task sleeps on, for its command ends with it.
    supervisor_end = os.pidfd_open(supervisor)
    os.killpg(stack.processes.running(GPU_WORKER), signal.SIGKILL)
    select.select([supervisor_end], [], [])
    for pid in (task, orphan):
        os.kill(pid, signal.SIGSTOP)
    last = drill.checkpoints()[-1]
    stack.run("up")
    wait_for(lambda: drill.checkpoints()[-1] > last)  # by the retry
    assert orphan in drill.commands("train")
    assert len(drill.commands("train")) == 2
    os.kill(orphan, signal.SIGCONT)
    night = drill.finish()
    assert_done_once(night, calm, "train")
    assert drill.resumed(2) == last
    os.kill(task, signal.SIGCONT)
    wait_for(lambda: not proc_stat(orphan) and not proc_stat(task))


def test_scheduler_killed_loses_nothing(stack, calm):
    drill = Drill.begin(stack, "scheduler")
    wait_for(lambda: drill.parts("image"))
    kill_service(stack, "airflow-scheduler")
    time.sleep(SECONDS_AWAY)
    stack.run("up")
    assert_done_once(drill.finish(), calm)


def test_api_server_killed_training_is_not_begun_anew(stack, calm):
    drill = Drill.begin(stack, "api-server")
    wait_for(drill.checkpoints)
    kill_service(stack, "airflow-api")
    time.sleep(SECONDS_AWAY)
    last = drill.checkpoints()[-1]
    stack.run("up")
    night = drill.finish()
    assert_done_once(night, calm, "train")
    for attempt in range(2, night.attempts("train")[0] + 1):
        log = stack.log(drill.run_id, "train", attempt)
        assert "train: done before" in log or drill.resumed(attempt) >= last


def test_mlflow_killed_registration_waits_for_it(stack, calm):
    drill = Drill.begin(stack, "mlflow")
    wait_for(lambda: drill.commands("register"))
    kill_service(stack, "mlflow")
    time.sleep(SECONDS_AWAY)
    stack.run("up")
    night = drill.finish()
    assert_done_once(night, calm, "register", "promote")
    assert night.states["promote"] == "success"
