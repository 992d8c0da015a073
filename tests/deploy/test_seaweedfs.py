import socket
import subprocess
import sysconfig
import time
from pathlib import Path

import botocore.session
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from deploy import seaweedfs
from deploy.compose import Stack
from deploy.env_file import complete, read
from tests.deploy.stack import free_ports

PORTS = {"S3_PORT": "18333", "S3_FILER_PORT": "18336", "REDIS_PORT": "16379", "S3_SECRET_KEY": "1"}


def test_clear_sockets_removes_those_of_its_ports_and_of_the_ports_beside(tmp_path, monkeypatch):
    monkeypatch.setattr(seaweedfs, "FOLDER", tmp_path)
    for name in ("s3-18333", "s3-grpc-28333", "filer-grpc-28336", "s3-18334", "s3-16379"):
        (tmp_path / f"seaweedfs-{name}.sock").touch()
    seaweedfs.clear_sockets(PORTS)
    assert {path.stem for path in tmp_path.iterdir()} == {"seaweedfs-s3-18334", "seaweedfs-s3-16379"}


def test_clear_sockets_of_another_user_says_whose_and_what_to_do(tmp_path, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(seaweedfs, "FOLDER", tmp_path)
    monkeypatch.setattr(Path, "unlink", refuse)
    (tmp_path / "seaweedfs-s3-18333.sock").touch()
    with pytest.raises(SystemExit, match=rf"s3-18333.sock is user {Path(tmp_path).owner()}'s.*other S3_\*PORTs"):
        seaweedfs.clear_sockets(PORTS)
    assert list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """SeaweedFS by the stack's own command; a client for each identity, by the prefix of its keys in `.env`."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    complete(folder / ".env", free_ports() | {"COMPOSE_PROFILES": ""})
    service = Stack(folder / ".env", folder / "state").service("seaweedfs")
    (folder / "state" / "data" / "seaweedfs").mkdir(parents=True)
    for path, content in service.configs.items():
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(content)
    settings = read(folder / ".env")
    with (folder / "log").open("wb") as log:
        program = Path(sysconfig.get_path("scripts")) / service.command[0]
        outside = [option.replace("-s3.ip.bind=127.0.0.1", f"-s3.ip.bind={OUTSIDE}") for option in service.command[1:]]
        process = subprocess.Popen([program, *outside], stdout=log, stderr=log, cwd=folder)
    try:
        found = {name: client(settings, prefix) for name, prefix in PREFIXES.items()}
        wait_for(found["operator"], process)
        yield found, settings
    finally:
        process.kill()
        process.wait()
        seaweedfs.clear_sockets(settings)


OUTSIDE = "127.0.0.2"
"""Another address than that of master, volumes and filer, as the container's own is."""
PREFIXES = {"operator": "S3_", "pipeline": "S3_PIPELINE_", "mlflow": "S3_MLFLOW_"}


def client(settings, prefix):
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://{OUTSIDE}:{settings['S3_PORT']}",
        aws_access_key_id=settings[f"{prefix}ACCESS_KEY"],
        aws_secret_access_key=settings[f"{prefix}SECRET_KEY"],
    )


def wait_for(operator, process):
    deadline = time.monotonic() + 120
    while True:
        try:
            operator.create_bucket(Bucket="microrec")
            operator.put_object(Bucket="microrec", Key="catalogue/items", Body=b"items")
            operator.create_bucket(Bucket="other")
            return
        except (BotoCoreError, ClientError):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def may(action, **arguments):
    try:
        action(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


@pytest.mark.integration
def test_identities_reach_what_their_role_needs_and_nothing_else(clients):
    clients, _ = clients
    pipeline, mlflow = clients["pipeline"], clients["mlflow"]
    for key in ("store/x", "mlflow/1/x"):
        assert may(pipeline.put_object, Bucket="microrec", Key=key, Body=b"x")
    assert may(pipeline.get_object, Bucket="microrec", Key="catalogue/items")
    assert may(pipeline.list_objects_v2, Bucket="microrec", Prefix="store/")
    assert may(pipeline.delete_object, Bucket="microrec", Key="store/x")
    assert not may(pipeline.put_object, Bucket="other", Key="x", Body=b"x")
    assert not may(pipeline.create_bucket, Bucket="third")
    assert not may(pipeline.delete_bucket, Bucket="other")
    assert may(mlflow.put_object, Bucket="microrec", Key="mlflow/2/x", Body=b"x")
    assert may(mlflow.get_object, Bucket="microrec", Key="mlflow/1/x")
    assert may(mlflow.list_objects_v2, Bucket="microrec", Prefix="mlflow/2")
    assert may(mlflow.delete_object, Bucket="microrec", Key="mlflow/1/x")
    assert not may(mlflow.get_object, Bucket="microrec", Key="catalogue/items")
    assert not may(mlflow.put_object, Bucket="microrec", Key="store/releases/x", Body=b"x")
    assert not may(mlflow.list_objects_v2, Bucket="microrec", Prefix="store/")


@pytest.mark.integration
def test_filer_listens_to_its_own_container_alone(clients):
    _, settings = clients
    socket.create_connection((OUTSIDE, int(settings["S3_PORT"])), timeout=5).close()
    for name in ("S3_FILER_PORT", "S3_MASTER_PORT", "S3_VOLUME_PORT"):
        for port in (int(settings[name]), int(settings[name]) + 10000):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((OUTSIDE, port), timeout=5)
