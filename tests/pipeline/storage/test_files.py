import errno
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from upath import UPath

from pipeline.errors import StoreError
from pipeline.storage.files import (
    create_bytes,
    is_complete,
    list_files,
    local_copy,
    publish_bytes,
    publish_file,
    publish_folder,
    read_bytes,
    read_json,
    resolve,
    scratch,
    swap_bytes,
    try_lock,
    write_json,
)


def prepare(target, text):
    folder_context = scratch(target)
    folder = folder_context.__enter__()
    (folder / "inner").mkdir()
    (folder / "inner" / "file.txt").write_text(text)
    return folder_context, folder


@pytest.fixture(params=["local", "s3"])
def root(request, tmp_path):
    """A local folder, and a prefix of an object store, which has no rename."""
    if request.param == "local":
        return UPath(str(tmp_path))
    return resolve(f"s3://{request.getfixturevalue('s3_bucket')}/prefix", Path())


def test_publish_folder_two_attempts_first_wins(root):
    target = root / "runs" / "a"
    first_context, first = prepare(target, "first")
    second_context, second = prepare(target, "second")
    assert publish_folder(first, target)
    assert not publish_folder(second, target)
    for context in (first_context, second_context):
        context.__exit__(None, None, None)
    assert is_complete(target)
    assert (target / "inner" / "file.txt").read_text() == "first"


def test_publish_folder_remains_without_marker_are_replaced(root):
    target = root / "a"
    publish_bytes(target / "inner" / "file.txt", b"half")
    assert not is_complete(target)
    context, folder = prepare(target, "whole")
    assert publish_folder(folder, target)
    context.__exit__(None, None, None)
    assert (target / "inner" / "file.txt").read_text() == "whole"


def test_scratch_failure_leaves_nothing_behind(tmp_path):
    target = UPath(str(tmp_path / "a"))

    def fail_half_way():
        with scratch(target) as folder:
            (folder / "file").touch()
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_scratch_leaves_nothing_behind_where_no_more_files_can_be_opened(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = []

    def fail_for_want_of_files():
        with scratch(UPath(str(tmp_path / "a"))) as folder:
            (folder / "in" / "deep").mkdir(parents=True)
            (folder / "in" / "deep" / "file").touch()
            while True:
                opened.append(os.open(folder, os.O_RDONLY))

    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            fail_for_want_of_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in opened:
            os.close(one)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("publish", [publish_folder, publish_file])
def test_publish_removes_what_killed_attempts_left_and_no_living_one(tmp_path, publish):
    target = UPath(str(tmp_path / "a"))
    dying = f"import os, signal; from upath import UPath; from pipeline.storage.files import scratch; \
        context = scratch(UPath({str(target)!r})); context.__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", dying], check=False)
    (dead,) = tmp_path.glob(".a.*")
    with scratch(target) as living, scratch(target) as folder:
        (folder / "a").touch()
        publish(folder / "a" if publish is publish_file else folder, target)
        assert not dead.exists()
        assert living.exists()


def test_try_lock_folder_that_its_owner_has_removed_is_left_alone(tmp_path):
    assert try_lock(tmp_path / ".a.gone") is None


def test_write_json_replaces_and_read_json_names_a_damaged_file(root):
    path = root / "champion.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    publish_bytes(path, b"{")
    with pytest.raises(StoreError, match=r"champion\.json is not valid JSON"):
        read_json(path)


def test_publish_folder_many_at_once_readers_see_one_attempt_whole(root):
    target = root / "a"

    def attempt(number):
        with scratch(target) as folder:
            for name in ("one", "two", "inner/three"):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(f"{number} {name}")
            return publish_folder(folder, target)

    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(attempt, range(8)))
    assert published.count(True) == 1
    winner = published.index(True)
    assert not list(root.glob(".a.*"))
    assert set(list_files(target)) == {"_SUCCESS", "one", "two", "inner/three"}
    for name in ("one", "two", "inner/three"):
        assert read_bytes(target / name).decode() == f"{winner} {name}"


def test_create_bytes_first_stays(root):
    path = root / "config.json"
    assert [create_bytes(path, payload) for payload in (b"first", b"second")] == [b"first", b"first"]
    assert read_bytes(path) == b"first"


def test_swap_bytes_only_from_what_is_there(root):
    path = root / "champion.json"
    assert not swap_bytes(path, b"a", b"b")
    assert swap_bytes(path, None, b"a")
    assert not swap_bytes(path, None, b"b")
    assert not swap_bytes(path, b"x", b"b")
    assert swap_bytes(path, b"a", b"b")
    assert swap_bytes(path, b"a", b"b")  # the same request again, its answer having been lost
    assert read_bytes(path) == b"b"


COUNT = """
import sys; from pathlib import Path; from pipeline.storage.files import read_bytes, resolve, swap_bytes
path = resolve(sys.argv[1], Path())
for step in range(10):
    while True:
        before = read_bytes(path)
        if swap_bytes(path, before, before + f"{sys.argv[2]}-{step};".encode()):
            break
"""


def test_swap_bytes_of_two_processes_loses_none(root):
    path = root / "log"
    publish_bytes(path, b"")
    started = [subprocess.Popen([sys.executable, "-c", COUNT, str(path), str(number)]) for number in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    assert sorted(read_bytes(path).decode().split(";")[:-1]) == sorted(f"{n}-{s}" for n in range(2) for s in range(10))


def test_publish_file_first_stays_and_large_ones_arrive_whole(root):
    path = root / "part.parquet"
    payload = bytes(range(256)) * 500_000  # more than is sent in one piece
    for content in (payload, b"second"):
        with scratch(path) as folder:
            (folder / path.name).write_bytes(content)
            publish_file(folder / path.name, path)
    assert read_bytes(path) == payload


def test_local_copy_of_a_folder_and_of_nothing(root):
    publish_bytes(root / "folder/inner/file", b"x")
    with local_copy(root / "folder") as copy:
        assert (copy / "inner/file").read_bytes() == b"x"
    with local_copy(root / "absent") as copy:
        assert not copy.exists()


def test_write_json_on_a_full_disk_leaves_no_temporary_file(tmp_path, monkeypatch):
    def full(path, payload):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(UPath(str(tmp_path / "checks.json")), {})
    assert list(tmp_path.iterdir()) == []
