from pathlib import Path

import pytest

from deploy import seaweedfs

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
