"""Servers that fail in the middle of a night: the object store that has the store, and MLflow's."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from bench.faults.child import Said
from bench.faults.proxy import Answer, Fault, Proxy, Server, answering, away, forwarding, silent
from bench.faults.shop import FINISHED, SECOND, Shop, come_to
from bench.faults.stops import Stop, left_behind, told_once, versions
from bench.faults.uploads import SMALL_PARTS, Uploads, dropping, s3_error
from tests.servers import free_ports, s3_client

BUCKET = "faults"
CLIENTS = {
    "FSSPEC_S3": json.dumps({"config_kwargs": {"read_timeout": 3, "connect_timeout": 3}}),
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
}
"""Clients of the object store that wait for seconds, not for minutes."""
LONGEST = 60.0
"""Seconds for which a server fails, at most."""
LATER_TRIES = 2
"""Of a night, after the fault is over."""
OBJECT_STORE = ("times out", "throttles", "drops multipart uploads", "is away")
MLFLOW = ("answers 500 or 503", "is away")
OBJECT, SERVER = "object", "MLflow"
NOT_THERE = Answer(status=503, body=b"<html>maintenance</html>", headers=(("Content-Type", "text/html"),))
INTERNAL = Answer(
    status=500,
    headers=(("Content-Type", "application/json"),),
    body=b'{"error_code": "INTERNAL_ERROR", "message": "the database is locked"}',
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a night runs: its store, what it is told beside, and the server behind the proxy."""

    store: str
    local: Path
    """The local store: all of it, or what MLflow has."""
    server: Server
    more: tuple[str, ...] = ()
    program: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)

    def start(self, shop: Shop, proxy: Proxy, *asked: str, name: str = "") -> Said:
        """Run a command, by default the second night, with the proxy's address for the server's."""
        told = (one.replace("{proxy}", proxy.address) for one in (*asked, *self.more))
        environ = {name: value.replace("{proxy}", proxy.address) for name, value in self.environ.items()}
        scratch = self.local.parent / "tmp"
        scratch.mkdir(exist_ok=True)
        environ["TMPDIR"] = str(scratch)
        return shop.start(self.store, *told, name=name, program=self.program, environ=environ).end()


def object_store(kind: str, s3: Mapping[str, str], shop: Shop, seed: int, turn: int, longest: float = LONGEST) -> Stop:
    """A store that fails, for `longest` seconds at most; its clients try again as they do."""
    rng = np.random.default_rng([seed, 10, OBJECT_STORE.index(kind), turn])
    seconds = float(rng.uniform(5, longest))
    place = _in_a_bucket(shop, s3, small_parts=kind == OBJECT_STORE[2])
    fault: Fault = {
        "times out": silent(rng, 6.0),
        "throttles": answering(rng, [s3_error(503, "SlowDown"), s3_error(500, "InternalError")], 0.8),
        "drops multipart uploads": dropping(rng),
        "is away": away,
    }[kind]
    stop = _tried(shop, place, f"an object store that {kind}", fault, rng, seconds)
    left = stop.wrong or _left_in(place.store, s3)
    return Stop(what=stop.what, when=stop.when, wrong=left)


def mlflow_server(kind: str, shop: Shop, seed: int, turn: int, longest: float = LONGEST) -> Stop:
    """An MLflow server that fails; its client tries again for minutes, as it does, or once at most."""
    rng = np.random.default_rng([seed, 11, MLFLOW.index(kind), turn])
    seconds, retries = float(rng.uniform(5, longest)), 1 if turn % 2 == 0 else 7
    with _mlflow(shop, retries) as place:
        fault = answering(rng, [NOT_THERE, INTERNAL]) if kind == MLFLOW[0] else away
        return _tried(shop, place, f"an MLflow server that {kind}", fault, rng, seconds)


def _tried(shop: Shop, place: Place, what: str, fault: Fault, rng: np.random.Generator, seconds: float) -> Stop:
    asked = json.loads(_counted(shop, OBJECT if what.startswith("an object") else SERVER).read_text())
    first = int(rng.uniform() * asked)
    with Proxy(place.server, fault, first=first, seconds=seconds).listening() as proxy:
        statuses: list[int] = []
        wrong, result = _night(shop, place, proxy, statuses)
        wrong = wrong or _judged(shop, place, proxy, result)
        when = f"from request {first} on for {seconds:.0f} s, statuses {statuses}, {proxy.asked} requests"
        return Stop(what=what, when=when, wrong=wrong)


def _night(shop: Shop, place: Place, proxy: Proxy, statuses: list[int]) -> tuple[str, dict[str, Any]]:
    """Try as an orchestrator does: again after exit status 1, once while the fault lasts and then twice at most."""
    later = 0
    while True:
        was_over = proxy.over
        said = place.start(shop, proxy)
        statuses.append(said.status)
        if said.status == 0:
            return "", come_to(json.loads(said.out))
        if wrong := told_once(said, (1,)):
            return wrong, {}
        later += was_over
        if later == LATER_TRIES or not proxy.began:
            return f"does not recover: {said.message}", {}
        if len(statuses) > 1:
            proxy.wait()


def _judged(shop: Shop, place: Place, proxy: Proxy, result: dict[str, Any]) -> str:
    """What is wrong with what the night has left, now that nothing fails any more."""
    proxy.wait()
    if result != shop.undisturbed:
        return f"another result: {json.dumps(result)}"
    verified = place.start(shop, proxy, SECOND, name="verify")
    if verified.status:
        return f"does not verify: {verified.err[-600:]}"
    models, wanted = versions(place.local), versions(shop.snapshot(FINISHED))
    if models != wanted:
        return f"{models} versions are registered, not {wanted}"
    left = [path.name for path in (place.local.parent / "tmp").iterdir()]
    return f"left behind: {', '.join(left)}" if left else left_behind(place.local)


def count_requests(shop: Shop, s3: Mapping[str, str], *servers: str) -> None:
    """Count what nights ask of the servers, each in a night that nothing disturbs; once."""
    for one in servers or (OBJECT, SERVER):
        if _counted(shop, one).exists():
            continue
        with nullcontext(_in_a_bucket(shop, s3)) if one == OBJECT else _mlflow(shop, 7) as place:
            _count(shop, one, place)


def _counted(shop: Shop, server: str) -> Path:
    return shop.folder / f"requests-{server}.json"


def _count(shop: Shop, server: str, place: Place) -> None:
    with Proxy(place.server).listening() as proxy:
        said = place.start(shop, proxy)
        if said.status or come_to(json.loads(said.out)) != shop.undisturbed:
            raise RuntimeError(f"the undisturbed night ends with {said.status}: {said.out} {said.err[-2000:]}")
        _counted(shop, server).write_text(json.dumps(proxy.asked))


def _in_a_bucket(shop: Shop, s3: Mapping[str, str], *, small_parts: bool = False) -> Place:
    """A store in the bucket, and MLflow's database and files on this machine."""
    local, prefix, client = shop.copy("validate"), uuid.uuid4().hex, s3_client(dict(s3))
    for path in sorted(local.rglob("*")):
        name = path.relative_to(local).as_posix()
        if path.is_file() and not name.startswith(("mlflow.", "mlartifacts", ".")):
            client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=path.read_bytes())
            path.unlink()
    server = forwarding(s3["AWS_ENDPOINT_URL_S3"])
    return Place(
        store=f"s3://{BUCKET}/{prefix}",
        local=local,
        server=Uploads(server, client) if small_parts else server,
        more=("--set", f"mlflow.tracking_uri=sqlite:///{local}/mlflow.db"),
        program=SMALL_PARTS if small_parts else "",
        environ={**s3, **CLIENTS, "AWS_ENDPOINT_URL_S3": "{proxy}"},
    )


def _left_in(store: str, s3: Mapping[str, str]) -> str:
    """Attempts that nobody works at any more."""
    prefix = store.removeprefix(f"s3://{BUCKET}/")
    pages = s3_client(dict(s3)).get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    left = [key for key in keys if "/_attempts/" in key and not key.endswith("/chosen")]
    return f"left behind: {', '.join(left)}" if left else ""


@contextmanager
def _mlflow(shop: Shop, retries: int) -> Iterator[Place]:
    """An MLflow server on the database of a local store; it has the files of new models, too."""
    local = shop.copy("validate")
    shop.microrec(local, "champion")  # has the database know where its files lie now
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{local}/mlflow.db", "--artifacts-destination", str(local / "served")),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (local.parent / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait_for(f"{address}/health", process)
        yield Place(
            store=str(local),
            local=local,
            server=forwarding(address),
            more=("--set", "mlflow.tracking_uri={proxy}", "--set", "mlflow.experiment=served"),
            environ={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries)},
        )
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urlopen(address, timeout=5):
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MLflow's server does not start: {error}") from error
            time.sleep(0.2)


def kinds(s3: Mapping[str, str]) -> dict[str, Any]:
    """Kinds that take the shop, a seed and a number."""
    found: dict[str, Any] = {f"an object store that {one}": partial(object_store, one, s3) for one in OBJECT_STORE}
    return found | {f"an MLflow server that {one}": partial(mlflow_server, one) for one in MLFLOW}
