"""Copies of text tables in the temporary folder: what stands in their way, and what killed processes have left."""

import errno
import os
import subprocess
import sys

import polars as pl
import pytest
from upath import UPath

from pipeline.catalogue import copies
from pipeline.errors import InputError, PassingError


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A file to copy; copies stand in the same folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    copies._scratch.cache_clear()
    (tmp_path / "items.csv").write_text("item_id\na\n")
    yield UPath(tmp_path / "items.csv")
    copies._scratch.cache_clear()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_copy_that_finds_no_room_names_the_temporary_folder(table, tmp_path, number):
    def conversion(path, folder):
        (folder / "part.parquet").write_bytes(b"x")
        raise OSError(number, "Error writing bytes to file")

    with pytest.raises(PassingError, match=rf"items\.csv .*temporary folder {tmp_path}, .*name another .* by TMPDIR"):
        copies.scan_copies(table, conversion)
    assert not list(tmp_path.glob("microrec-copies-*/*"))


def test_copy_of_a_file_that_cannot_be_read_names_the_file(table):
    def conversion(path, folder):
        raise OSError(errno.EINVAL, "odd")

    with pytest.raises(InputError, match=r"items\.csv: .*odd"):
        copies.scan_copies(table, conversion)


def test_copies_of_dead_processes_are_removed_and_those_of_the_living_stay(table, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, elsewhere = (tmp_path / f"microrec-copies-{gone.pid}-{name}" for name in ("a", "b"))
    alive, other = tmp_path / f"microrec-copies-{os.getppid()}-a", tmp_path / "microrec-x"
    for folder in (dead, elsewhere, alive, other):
        (folder / "copy").mkdir(parents=True)
    lock = copies.try_lock(elsewhere)  # of a process that has no number here

    def conversion(path, folder):
        pl.DataFrame({"item_id": ["a"]}).write_parquet(folder / "part.parquet")

    (frame,) = copies.scan_copies(table, conversion)
    os.close(lock)
    assert frame.collect()["item_id"].to_list() == ["a"]
    assert [folder.exists() for folder in (dead, elsewhere, alive, other)] == [False, True, True, True]
    assert len(list(tmp_path.glob(f"microrec-copies-{os.getpid()}-*"))) == 1
