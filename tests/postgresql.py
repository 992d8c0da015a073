"""A PostgreSQL with pgvector for tests, on a free loopback port."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploy import postgres
from deploy.compose import Service
from deploy.processes import Processes
from tests.servers import free_ports


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run a server; yield its address, to which a database's name is added."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server runs as another user where we are root
        [port] = map(str, free_ports(1))
        data = folder / "postgresql" / "data"
        environment = {"PGDATA": str(data), "POSTGRES_PASSWORD": "secret", "POSTGRES_DB": "vectors"}
        postgres.prepare(Service("postgres", {"environment": environment}, {}))
        options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command = [str(postgres.binaries() / "postgres"), *options]
        processes = Processes(folder)
        processes.start("postgres", command, environment, user=postgres.server_user(), stop_signal="SIGINT")
        ready = [postgres.binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", port]
        while subprocess.run(ready, check=False).returncode:
            assert processes.running("postgres"), processes.last_lines("postgres")
            time.sleep(0.1)
        yield f"postgresql://postgres:secret@127.0.0.1:{port}"
        processes.stop(["postgres"], 30)
