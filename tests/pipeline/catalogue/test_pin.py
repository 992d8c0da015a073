"""A pin says which tables a run stands on, and what became of them."""

import os
from pathlib import Path

import polars as pl
import pytest

from pipeline.catalogue import pin as pin_module
from pipeline.catalogue.pin import Pin, PinnedFile, confirm, take_pin, unmoved
from pipeline.config.config import compose
from pipeline.errors import InputError, InputMissingError, InputMovedError
from pipeline.storage.files import file_sha256, publish_bytes, resolve


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path):
    """Where the tables are: beside the configuration, or in a bucket."""
    if request.param == "local":
        return resolve(str(tmp_path), Path())
    return resolve(f"s3://{request.getfixturevalue('s3_bucket')}/in", Path())


def table(rows: list[str]) -> bytes:
    return pl.DataFrame({"user_id": rows, "item_id": rows}).write_csv().encode()


@pytest.fixture
def catalogue(folder, tmp_path):
    for name, rows in (("items.csv", ["a"]), ("parts/one.csv", ["b"]), ("parts/two.csv", ["c"])):
        publish_bytes(folder / name, table(rows))
    section = {"items": str(folder / "items.csv"), "interactions": [f"{folder}/parts/*.csv"]}
    return compose({"catalogue": section}, base=tmp_path).open_catalogue()


def read(monkeypatch) -> list[str]:
    """Names of the files whose bytes are read from now on."""
    names: list[str] = []

    def counted(path):
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(pin_module, "file_sha256", counted)
    return names


def test_take_pin_has_size_version_and_digest_of_every_file(catalogue, folder):
    pin = take_pin(catalogue)
    assert {Path(name).name for name in pin.files} == {"items.csv", "one.csv", "two.csv"}
    [items] = [file for name, file in pin.files.items() if name.endswith("items.csv")]
    assert (items.size, items.sha256) == (len(table(["a"])), file_sha256(folder / "items.csv"))
    assert items.version
    assert pin.digests == {name: file.sha256 for name, file in pin.files.items()}


def test_confirm_unmoved_files_reads_none(catalogue, monkeypatch):
    pin = take_pin(catalogue)
    names = read(monkeypatch)
    assert confirm(catalogue, pin) == pin
    assert names == []


def test_confirm_other_version_of_the_same_bytes_is_the_same_file(catalogue, monkeypatch):
    """A touched file; in an object store the same bytes sent in parts, or encrypted anew."""
    pin, names = take_pin(catalogue), read(monkeypatch)
    before = Pin(files={name: PinnedFile(size=f.size, version="1", sha256=f.sha256) for name, f in pin.files.items()})
    now = confirm(catalogue, before)
    assert now == pin
    assert sorted(names) == ["items.csv", "one.csv", "two.csv"]
    assert confirm(catalogue, now) == pin
    assert len(names) == 3


def test_confirm_touched_file_is_the_same(tmp_path):
    (tmp_path / "items.csv").write_bytes(table(["a"]))
    section = {"items": "items.csv", "interactions": ["items.csv"]}
    catalogue = compose({"catalogue": section}, base=tmp_path).open_catalogue()
    pin = take_pin(catalogue)
    os.utime(tmp_path / "items.csv", (1, 1))
    assert confirm(catalogue, pin).digests == pin.digests


@pytest.mark.parametrize("rows", [["z"], ["b", "c"]], ids=["same-size", "larger"])
def test_confirm_changed_file_is_named(catalogue, folder, rows):
    pin = take_pin(catalogue)
    publish_bytes(folder / "parts/one.csv", table(rows))
    with pytest.raises(InputMovedError, match=r"^changed: \S*parts/one\.csv$"):
        confirm(catalogue, pin)


def test_confirm_new_and_gone_files_are_named(catalogue, folder):
    pin = take_pin(catalogue)
    publish_bytes(folder / "parts/three.csv", table(["d"]))
    (folder / "parts/two.csv").unlink()
    with pytest.raises(InputMovedError, match=r"^gone: \S*two\.csv; new: \S*three\.csv$"):
        confirm(catalogue, pin)


def test_confirm_catalogue_that_is_gone_has_moved(catalogue, folder):
    pin = take_pin(catalogue)
    (folder / "items.csv").unlink()
    with pytest.raises(InputMovedError, match=r"items\.csv does not exist"):
        confirm(catalogue, pin)
    with pytest.raises(InputMissingError):
        take_pin(catalogue)


def test_confirm_many_changed_files_names_some(catalogue, folder):
    for number in range(9):
        publish_bytes(folder / f"parts/{number}.csv", table(["x"]))
    pin = take_pin(catalogue)
    for number in range(9):
        publish_bytes(folder / f"parts/{number}.csv", table(["y"]))
    with pytest.raises(InputMovedError, match=r"4\.csv and 4 more$"):
        confirm(catalogue, pin)


@pytest.mark.parametrize("problem", [None, InputError("cannot be read"), FileNotFoundError("half")])
def test_unmoved_file_replaced_while_it_is_read_is_said_whatever_reading_gave(catalogue, folder, problem):
    def read_while_replaced():
        with unmoved(catalogue, take_pin(catalogue)):
            publish_bytes(folder / "items.csv", table(["other"]))
            if problem:
                raise problem

    with pytest.raises(InputMovedError, match="changed"):
        read_while_replaced()


def test_unmoved_file_that_cannot_be_read_keeps_its_own_error(catalogue):
    with pytest.raises(InputError, match="a wrong value"), unmoved(catalogue, take_pin(catalogue)):
        raise InputError("a wrong value")
