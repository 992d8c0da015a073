"""A stack for each module whose tests need one, with a sample catalogue in its store."""

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from deploy.env_file import complete
from tests.deploy.stack import TestStack, free_ports

SETTINGS = {
    "SEED_ITEMS": "120",
    "SEED_USERS": "150",
    "MAX_EPOCHS": "200",  # to early stopping: a model of five epochs is refused, for item-kNN beats it
    "COMPOSE_PROFILES": "cpu",
    "OVERRIDABLE": """'"catalogue", "mlflow.model_name", "modalities", "store"'""",  # a night has a store of its own
    # A lost worker is noticed sooner than in production: the tests wait for it.
    "TASK_HEARTBEAT_TIMEOUT": "40",
    "ORPHANED_TASKS_CHECK": "30",
}


class Statsd:
    """Takes metrics as a StatsD server would, and keeps their names."""

    def __init__(self, receiver):
        self.port, self.names = receiver.getsockname()[1], set()
        self._receiver, self._ended = receiver, threading.Event()
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self):
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                self.names |= {line.split(":")[0] for line in self._receiver.recv(65536).decode().splitlines()}

    def end(self):
        self._ended.set()
        self._thread.join()


@pytest.fixture(scope="session")
def statsd():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1)
        server = Statsd(receiver)
        yield server
        server.end()


@pytest.fixture(scope="module")
def stack(statsd):
    """A stack of its own, seeded; its end leaves nothing running. A module's champion is none of another's."""
    if not os.environ.get("MICROREC_TEST_STACK"):
        pytest.skip("MICROREC_TEST_STACK is not set")
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    folder = Path(tempfile.mkdtemp(prefix="microrec-stack-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
    stack = TestStack(folder / "env", folder / "state")
    metrics = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(statsd.port)}
    complete(stack.env_file, SETTINGS | metrics | free_ports())
    try:
        stack.run("up")
        assert "started" not in stack.run("up")
        stack.run("seed")
        yield stack
    finally:
        stack.run("down")
        assert "nothing was running" in stack.run("down")
        shutil.rmtree(folder)
