"""A stage is a transaction: done once, whole or not at all, its result read back as its type."""

import errno
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pipeline.run
from pipeline.errors import InputError, StoreError
from pipeline.opening import open_run
from pipeline.run import Run, Stage, StageResult, run_stage
from pipeline.storage.files import SUCCESS, local_path
from pipeline.storage.use import OPENED
from tests.pipeline.release_factory import make_config, quiet


@dataclass(frozen=True, kw_only=True)
class Counted(StageResult):
    """Of the stage tested."""

    number: int
    names: list[str] = field(default_factory=list)


COUNT = Stage("count", Counted)
OTHER = Stage("other", Counted)


@pytest.fixture
def run(tmp_path) -> Run:
    return open_run(make_config(tmp_path, database=False), "r1", quiet())


def said(run):
    return run.reporter.console.file.getvalue().splitlines()


def counting(number, **options):
    def work(run, folder):
        (folder / "out.txt").write_text(str(number))
        return Counted(number=number, **options)

    return work


def refuse(run, folder):
    raise AssertionError("the work is done again")


def files(run):
    """What the store holds of the run, without locks and what `gc` looks at."""
    found = local_path(run.path).rglob("*")
    return sorted(
        str(path.relative_to(run.path)) for path in found if path.is_file() and path.name not in (".lock", OPENED)
    )


def test_run_stage_commits_output_and_result_together(run):
    result = run_stage(run, COUNT, counting(3, names=["a"]))
    assert (result.number, result.names) == (3, ["a"])
    assert files(run) == ["config.json", "count/_SUCCESS", "count/out.txt", "count/result.json"]
    assert run.result(COUNT) == run.require(COUNT) == result
    assert (run.folder(COUNT) / "out.txt").read_text() == "3"


def test_run_stage_measures_seconds_and_memory(run):
    result = run_stage(run, COUNT, counting(3, seconds=1e9))
    assert 0 <= result.seconds < 60
    assert result.peak_memory_bytes > 2**20


def test_run_stage_keeps_the_memory_of_processes_of_its_own(run):
    assert run_stage(run, COUNT, counting(3, peak_memory_bytes=2**60)).peak_memory_bytes == 2**60


def test_run_stage_again_is_done_before_and_gives_the_first_result(run):
    first = run_stage(run, COUNT, counting(3))
    before = {path: path.stat().st_mtime_ns for path in local_path(run.folder(COUNT)).iterdir()}
    assert run_stage(run, COUNT, refuse) == first
    assert said(run)[-1].endswith(f"count: done before, {first.seconds:.1f} s then")
    assert {path: path.stat().st_mtime_ns for path in local_path(run.folder(COUNT)).iterdir()} == before


def test_run_stage_is_done_by_stage_and_by_run(run, tmp_path):
    run_stage(run, COUNT, counting(3))
    assert run_stage(run, OTHER, counting(4)).number == 4
    other = open_run(run.config, "r2", quiet())
    assert run_stage(other, COUNT, counting(5)).number == 5
    assert run.require(COUNT).number == 3


def test_run_stage_says_what_it_does(run):
    run_stage(run, COUNT, counting(3))
    begun, done = said(run)
    assert begun.endswith("count: run r1")
    assert done.endswith(" s")


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_run_stage_that_fails_leaves_nothing_and_can_be_repeated(run, error):
    def failing(run, folder):
        (folder / "out.txt").write_text("half")
        raise error

    with pytest.raises(type(error)):
        run_stage(run, COUNT, failing)
    assert files(run) == ["config.json"]
    assert not [path for path in local_path(run.path).iterdir() if path.is_dir()]
    assert run.result(COUNT) is None
    assert run_stage(run, COUNT, counting(3)).number == 3


def test_run_stage_result_that_cannot_be_written_commits_nothing(run, monkeypatch):
    def full(path, document):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(pipeline.run, "write_json", full)
    with pytest.raises(OSError, match="no space left"):
        run_stage(run, COUNT, counting(3))
    assert files(run) == ["config.json"]


def test_run_stage_two_at_once_the_first_to_publish_wins(run):
    """The other attempt returns what was committed, not what it made."""

    def overtaken(run, folder):
        run_stage(run, COUNT, counting(1))
        return counting(2)(run, folder)

    assert run_stage(run, COUNT, overtaken).number == 1
    assert (run.require(COUNT).number, (run.folder(COUNT) / "out.txt").read_text()) == (1, "1")
    assert files(run) == ["config.json", "count/_SUCCESS", "count/out.txt", "count/result.json"]


def test_run_stage_replaces_what_a_killed_publication_has_left(run):
    remains = local_path(run.folder(COUNT))
    remains.mkdir(parents=True)
    (remains / "half.txt").touch()
    (remains / "result.json").write_text("{")
    assert run.result(COUNT) is None
    run_stage(run, COUNT, counting(3))
    assert files(run) == ["config.json", "count/_SUCCESS", "count/out.txt", "count/result.json"]


def test_require_of_a_stage_that_was_not_done_names_the_command(run):
    with pytest.raises(
        InputError, match=r"run r1 has no result of stage count; run `microrec count --run-id r1` first"
    ):
        run.require(COUNT)


def commit(run, text):
    """A committed stage whose result reads so."""
    folder = Path(local_path(run.folder(COUNT)))
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "result.json").write_text(text)
    (folder / SUCCESS).touch()


def test_result_of_an_earlier_version_has_the_defaults(run):
    commit(run, '{"number": 3}')
    assert run.result(COUNT) == Counted(number=3, names=[], seconds=0.0, peak_memory_bytes=0)
    assert run_stage(run, COUNT, refuse).number == 3


def test_result_of_a_later_version_is_read_but_for_what_is_unknown(run):
    commit(run, json.dumps({"number": 3, "colour": "red"}))
    assert run.require(COUNT) == Counted(number=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"result\.json is not valid JSON"),
        ("", r"result\.json is not valid JSON"),
        ("null", r"result\.json is damaged"),
        ('{"names": []}', r"result\.json is damaged.*number: Field required"),
        ('{"number": "three"}', r"result\.json is damaged.*number: .*integer"),
        (None, r"result\.json is missing"),
    ],
)
@pytest.mark.parametrize("ask", [Run.result, Run.require, lambda run, stage: run_stage(run, stage, refuse)])
def test_result_that_is_damaged_is_named(run, text, message, ask):
    commit(run, text)
    with pytest.raises(StoreError, match=message) as error:
        ask(run, COUNT)
    assert str(run.folder(COUNT)) in str(error.value)
