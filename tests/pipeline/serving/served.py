"""`mlflow models serve`, and questions to it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.servers import free_ports


@contextmanager
def served(folder, model, environment):
    """Serve a model, with its log in the folder; the address that answers questions."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}  # for uvicorn
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/ping", process, folder / "log")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def post(address, document, kind="application/json"):
    """Status and answer of a question."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    try:
        return 200, json.loads(urllib.request.urlopen(request, timeout=60).read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def _wait(address, process, log):
    deadline = time.monotonic() + 120
    while True:
        try:
            return urllib.request.urlopen(address, timeout=5).read()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
