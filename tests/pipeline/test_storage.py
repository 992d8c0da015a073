import pytest
from upath import UPath

from pipeline.errors import StoreError
from pipeline.storage import is_complete, publish_bytes, publish_folder, read_json, scratch, write_json


def prepare(target, text):
    folder_context = scratch(target)
    folder = folder_context.__enter__()
    (folder / "inner").mkdir()
    (folder / "inner" / "file.txt").write_text(text)
    return folder_context, folder


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    """A local folder, and an object store (in memory) that has no rename."""
    return UPath(str(tmp_path)) if request.param == "local" else UPath(f"memory://{tmp_path.name}")


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
    assert list(tmp_path.iterdir()) == []


def test_write_json_replaces_and_read_json_names_a_damaged_file(root):
    path = root / "champion.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2}
    publish_bytes(path, b"{")
    with pytest.raises(StoreError, match=r"champion\.json is not valid JSON"):
        read_json(path)
