"""An S3 server for the tests that ask for one, started once."""

import uuid

import pytest
import s3fs

from tests.servers import s3_client, seaweedfs


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory):
    """The environment in which S3 clients find the server."""
    with seaweedfs(tmp_path_factory.mktemp("s3")) as environment:
        yield environment


@pytest.fixture
def s3_bucket(s3_environment, monkeypatch):
    """Name of an empty bucket that this process and its children reach."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    client = s3_client(s3_environment)
    client.create_bucket(Bucket=bucket)
    yield bucket
    client.delete_bucket(Bucket=bucket)  # a bucket takes seven of the server's 200 volumes, and gives them back
    s3fs.S3FileSystem.clear_instance_cache()
