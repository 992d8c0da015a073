"""Real servers for tests, each on free loopback ports, with its data in a folder of the test's."""

import contextlib
import json
import socket
import subprocess
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

KEY, SECRET = "microrec-test", "a-secret-of-the-tests"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[dict[str, str]]:
    """Run SeaweedFS; yield the environment in which every S3 client finds it."""
    access = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "data").mkdir()
    (folder / "s3.json").write_text(json.dumps({"identities": [access]}))
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(names))
    listen = [
        option
        for place, name in enumerate(names)
        for option in (f"-{name}.port={ports[2 * place]}", f"-{name}.port.grpc={ports[2 * place + 1]}")
    ]
    command = [
        *(str(Path(sysconfig.get_path("scripts")) / "weed"), f"-logdir={folder}", "server", f"-dir={folder / 'data'}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.max=200"),
        *("-master.volumeSizeLimitMB=64", "-filer", "-s3", f"-s3.config={folder / 's3.json'}"),
        *(f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
        *listen,
    ]
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports[6]}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(environment, process, folder / "weed.log")
        yield environment
    finally:
        process.kill()  # it takes its time to stop, and what it holds is thrown away
        process.wait()


def s3_client(environment: dict[str, str]) -> Any:
    """A plain client, for what a test does beside the program."""
    return botocore.session.Session().create_client(
        "s3",
        region_name=environment["AWS_DEFAULT_REGION"],
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def _wait_for(environment: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    client, deadline = s3_client(environment), time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"")
            return
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS does not start: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.2)


@contextlib.contextmanager
def answering(status: int, body: str = "") -> Iterator[str]:
    """Run an HTTP server that has one answer to everything; yield its address."""

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_PUT = do_HEAD = do_POST = do_PATCH = do_DELETE = answer  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def stumbling(address: str, faults: int) -> Iterator[tuple[str, Counter[str]]]:
    """Run a proxy before an HTTP server that answers the first requests for every path with 503; count them."""
    tries: Counter[str] = Counter()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # clients ask before they send a body

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            tries[self.path] += 1
            if tries[self.path] <= faults:
                self.send_error(503)
                return
            with contextlib.closing(HTTPConnection(urlsplit(address).netloc)) as server:
                server.request(self.command, self.path, body, dict(self.headers))
                answer = server.getresponse()
                payload = answer.read()
                self.send_response_only(answer.status)
                for name in ("ETag", "Content-Type"):
                    self.send_header(name, answer.getheader(name, ""))
                self.send_header("Content-Length", answer.getheader("Content-Length", str(len(payload))))
                self.end_headers()
                self.wfile.write(payload)

        do_GET = do_PUT = do_HEAD = forward  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", tries
        server.shutdown()
