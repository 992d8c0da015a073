"""A file of a committed folder is held against its digest when it is opened."""

import pytest
from upath import UPath

from pipeline.errors import DamagedError
from pipeline.storage.committed import DIGESTS, RESULT, committed, digests_of
from pipeline.storage.files import SUCCESS, write_json


@pytest.fixture
def folder(tmp_path):
    """A stage's, whose result has the digests."""
    (tmp_path / "stage/below").mkdir(parents=True)
    (tmp_path / "stage/one.bin").write_bytes(b"1" * 100)
    (tmp_path / "stage/below/two.bin").write_bytes(b"2")
    folder = UPath(str(tmp_path / "stage"))
    write_json(folder / RESULT, {DIGESTS: digests_of(tmp_path / "stage")})
    (folder / SUCCESS).touch()
    return folder


def test_open_gives_the_file_that_was_committed(folder):
    with committed(folder).open("one.bin") as file:
        assert file.read_bytes() == b"1" * 100
    with committed(folder).open("below/two.bin") as file:
        assert file.read_bytes() == b"2"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: file.write_bytes(b"1" * 99 + b"3"), "is damaged: its sha256 is not the one committed"),
        (lambda file: file.write_bytes(b""), "is damaged"),
        (lambda file: file.unlink(), "is missing"),
    ],
)
def test_open_of_a_damaged_file_names_it_and_the_mend(folder, change, told):
    change(folder / "one.bin")
    with (
        pytest.raises(DamagedError, match=rf"stage/one\.bin {told}.*; delete .*/stage: the run, continued"),
        committed(folder).open("one.bin"),
    ):
        pass


def test_open_of_a_file_that_was_put_there_later_is_refused(folder):
    (folder / "three.bin").write_bytes(b"3")
    assert not committed(folder).holds("three.bin")

    with pytest.raises(DamagedError, match="was not there when"), committed(folder).open("three.bin"):
        pass


def test_committed_without_its_result_is_damaged(folder):
    (folder / RESULT).unlink()
    with pytest.raises(DamagedError, match=r"result\.json is missing; delete"):
        committed(folder)


def test_committed_of_an_earlier_version_is_read_as_it_is(folder):
    write_json(folder / RESULT, {"seconds": 1.0})
    (folder / "one.bin").write_bytes(b"other")
    with committed(folder).open("one.bin") as file:
        assert file.read_bytes() == b"other"
    assert committed(folder).holds("one.bin")
    assert not committed(folder).holds("three.bin")
