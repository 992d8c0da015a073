"""What can go wrong with an object store, on a real one."""

import gzip
import io
import time
from pathlib import Path

import polars as pl
import pytest
import s3fs

from pipeline.catalogue.locations import find_files
from pipeline.catalogue.tables import FORMATS, collect, read_tables, scan_table
from pipeline.cli import main
from pipeline.errors import InputError, PassingError, StoreError
from pipeline.storage import object_store
from pipeline.storage.files import (
    is_complete,
    list_files,
    publish_bytes,
    publish_folder,
    read_bytes,
    read_start,
    resolve,
    scratch,
    swap_bytes,
)
from pipeline.storage.object_store import require_bucket
from tests.servers import stumbling


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def root(s3_bucket):
    return resolve(f"s3://{s3_bucket}/prefix", Path())


def publish(target, text):
    with scratch(target) as folder:
        for name in ("one", "two"):
            (folder / name).write_text(f"{text} {name}")
        return publish_folder(folder, target)


@pytest.mark.parametrize("moment", ["before", "half-way"])
def test_publish_folder_killed_after_it_was_chosen_is_finished_by_the_next(root, monkeypatch, moment):
    target = root / "release"
    copy = target.fs.copy

    def dying(sources, targets, **options):
        if moment == "half-way":
            copy(sources[:1], targets[:1])
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(target.fs, "copy", dying)
        with pytest.raises(KilledError):
            publish(target, "first")
    assert not is_complete(target)
    assert not publish(target, "second")
    assert is_complete(target)
    assert [read_bytes(target / name).decode() for name in ("one", "two")] == ["first one", "first two"]


def test_publish_folder_killed_while_uploading_leaves_no_trace_in_the_next(root, monkeypatch):
    target = root / "release"
    put = target.fs.put

    def dying(sources, targets, **options):
        put(sources[:1], targets[:1])
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(target.fs, "put", dying)
        with pytest.raises(KilledError):
            publish(target, "first")
    assert publish(target, "second")
    assert read_bytes(target / "one") == b"second one"
    everything = {name.removeprefix(target.path + "/") for name in target.fs.find(target.path)}
    assert everything == {"_SUCCESS", "one", "two", "_attempts/chosen"}


def test_publish_folder_late_copier_finds_it_done(root):
    """One that had read whose attempt was chosen, slept, and wakes up when all is over."""
    target = root / "release"
    assert publish(target, "first")
    chosen = read_bytes(target / "_attempts/chosen").decode()
    object_store._put_in_place(target, chosen)
    assert list_files(target) == ["_SUCCESS", "one", "two"]
    (target / "_SUCCESS").unlink()
    with pytest.raises(StoreError, match="damaged: it has no _SUCCESS; delete it"):
        publish(target, "second")


@pytest.mark.parametrize(
    ("changed", "message", "kind"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch.*correct AWS_ACCESS_KEY_ID", InputError),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId.*correct AWS_ACCESS_KEY_ID", InputError),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "Could not connect.*AWS_ENDPOINT_URL_S3", PassingError),
        ({"AWS_ENDPOINT_URL_S3": "localhost"}, "Invalid endpoint: localhost", InputError),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            "there are no credentials; set AWS_ACCESS_KEY_ID",
            InputError,
        ),
        ({"AWS_PROFILE": "nobody"}, "profile.*nobody.*could not be found", InputError),
    ],
)
def test_require_bucket_says_quickly_what_is_wrong(root, monkeypatch, tmp_path, changed, message, kind):
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name, value in changed.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    start = time.monotonic()
    with pytest.raises(kind, match=rf"store.root: s3://.*{message}"):
        require_bucket(resolve(str(root), Path()), "store.root")
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "setting", ["store.root=s3://absent/x", "catalogue.items=s3://absent/x.parquet", "catalogue.image_root=s3://absent"]
)
def test_command_missing_bucket_is_one_message_and_status_2(s3_bucket, tmp_path, capsys, setting):
    pl.DataFrame({"item_id": ["a"], "image_path": ["a.png"]}).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({"item_id": ["a"], "user_id": ["u"]}).write_parquet(tmp_path / "interactions.parquet")
    (tmp_path / "microrec.toml").write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n'
        '[modalities.image]\nencoder = "efficientnet-lite0"\n'
    )
    with pytest.raises(SystemExit) as ended:
        main(["extract", "-c", str(tmp_path / "microrec.toml"), "--set", setting])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "NoSuchBucket" in shown
    assert shown.count("\n") == 1
    assert shown.startswith(f"microrec: {setting.split('=')[0].replace('.items', '')}: s3://absent")


def test_requests_are_repeated_when_the_store_stumbles(s3_environment, s3_bucket, monkeypatch):
    with stumbling(s3_environment["AWS_ENDPOINT_URL_S3"], faults=2) as (address, tries):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        s3fs.S3FileSystem.clear_instance_cache()
        path = resolve(f"s3://{s3_bucket}/object", Path())
        publish_bytes(path, b"content")
        assert read_bytes(path) == b"content"
        assert tries[f"/{s3_bucket}/object"] == 4  # two refused, one written, one read


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz"])
def test_tables_of_every_format_are_read_from_the_store(root, ending):
    table, buffer = pl.DataFrame({"item_id": ["a", "b"], "title": ["x", None]}), io.BytesIO()
    write = {"parquet": table.write_parquet, "csv": table.write_csv, "jsonl": table.write_ndjson}
    write[ending.partition(".")[0]](buffer)
    payload = buffer.getvalue()
    publish_bytes(root / f"in/items.{ending}", gzip.compress(payload) if ending.endswith("gz") else payload)
    for location in (root / "in", root / f"in/*.{ending}", root / f"in/items.{ending}"):
        files = dict.fromkeys(find_files(location, tuple(FORMATS)), location)
        frame = read_tables(files, scan_table, {}, ["item_id"], interactions=False)
        assert collect(frame.frame, []).equals(table)


def test_glob_descends_into_the_folders_that_it_matches(root):
    for name in ("day1.csv", "day2.csv/part-0.csv", "day2.csv/_SUCCESS"):
        publish_bytes(root / "in" / name, b"item_id\na\n")
    found = find_files(root / "in/*.csv", (".csv",))
    assert [str(file).removeprefix(f"{root}/in/") for file in found] == ["day1.csv", "day2.csv/part-0.csv"]


def test_read_start_stops_at_the_limit_and_reads_what_is_empty(root):
    publish_bytes(root / "a", b"content")
    publish_bytes(root / "b", b"")
    assert (read_start(root / "a", 3), read_start(root / "a", 99), read_start(root / "b", 3)) == (
        b"con",
        b"content",
        b"",
    )


def test_swap_bytes_changed_between_opening_and_reading_is_lost_to_the_other(root, monkeypatch):
    path = root / "champion.json"
    publish_bytes(path, b"a")
    opened = path.fs.open

    def overtaken(*arguments):
        file = opened(*arguments)
        publish_bytes(path, b"b")
        return file

    monkeypatch.setattr(path.fs, "open", overtaken)
    assert not swap_bytes(path, b"a", b"c")
    assert read_bytes(path) == b"b"
