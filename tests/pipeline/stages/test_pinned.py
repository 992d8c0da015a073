"""A night stands on input that is recorded once: replaced meanwhile it is said, and the run can begin again."""

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import pipeline.stages.prepare
import pipeline.stages.validate
from pipeline import stages
from pipeline.catalogue.pin import Pin
from pipeline.config.config import Config, compose
from pipeline.dataset.dataset import load_dataset
from pipeline.errors import InputError, InputMovedError
from pipeline.opening import open_run
from pipeline.run import Run, Stage, run_stage
from pipeline.stages.extract import extract_pinned
from pipeline.stages.order import begin, do_stage, do_stages
from pipeline.stages.results import ExtractResult
from pipeline.storage.files import file_sha256, list_files, publish_bytes, read_json, resolve, write_json
from tests.commands import microrec
from tests.pipeline.release_factory import quiet
from tests.pipeline.tiny import make_tiny


@pytest.fixture(params=["local", "s3"])
def config(request, tmp_path) -> Config:
    """A tiny catalogue and a store, both beside the configuration or both in a bucket."""
    config = make_tiny(tmp_path)
    if request.param == "local":
        return config
    root = resolve(f"s3://{request.getfixturevalue('s3_bucket')}/shop", Path())
    for name in ("items.parquet", "interactions.parquet"):
        publish_bytes(root / name, (tmp_path / name).read_bytes())
        (tmp_path / name).unlink()
    document = config.as_dict()
    document["catalogue"] |= {"items": f"{root}/items.parquet", "interactions": [f"{root}/inter*.parquet"]}
    document |= {"store": {"root": f"{root}/store"}, "mlflow": {"tracking_uri": "sqlite:///mlflow.db"}}
    return compose(document, base=tmp_path)


@pytest.fixture
def local(tmp_path) -> Config:
    return make_tiny(tmp_path)


def interactions_of(config: Config):
    return config.path(config.catalogue.interactions[0].replace("*", "actions"))


def replace_interactions(config: Config) -> str:
    """Leave the last interaction out; the new file's sha256."""
    file = interactions_of(config)
    with file.open("rb") as opened:
        table = pl.read_parquet(opened.read())
    publish_bytes(file, _parquet(table.head(len(table) - 1)))
    return file_sha256(file)


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def opened(config: Config, run_id: str = "night") -> Run:
    return open_run(config, run_id, quiet())


def replace_during(monkeypatch, config: Config, module, name: str, times: int = 1) -> list[str]:
    """Replace the interactions when a function has been called, that many times; the digests so far."""
    digests: list[str] = []
    work = getattr(module, name)

    def replacing(*arguments):
        result = work(*arguments)
        if len(digests) < times:
            digests.append(replace_interactions(config))
        return result

    monkeypatch.setattr(module, name, replacing)
    return digests


def num_interactions(run: Run) -> int:
    return len(load_dataset(run.folder(stages.PREPARE), with_features=False).interactions)


def test_prepare_interactions_replaced_while_it_reads_are_trained_on_the_same_night(config, monkeypatch):
    """Their digest was taken last: the night trained on the old ones under the new ones' name."""
    night = opened(config)
    do_stages(night, upto=stages.EXTRACT)
    [before] = [file.sha256 for name, file in night.require(stages.VALIDATE).input.files.items() if "inter" in name]
    replaced = replace_during(monkeypatch, config, pipeline.stages.prepare, "assemble")
    with pytest.raises(InputMovedError, match=r"changed: \S*interactions.parquet.*`microrec validate --run-id night`"):
        do_stage(night, stages.PREPARE)
    again = begin(night)
    prepared = do_stage(again.run, stages.PREPARE)
    assert again.again
    assert replaced[0] in prepared.input_digests.values()
    assert before not in prepared.input_digests.values()
    assert num_interactions(again.run) == prepared.counts["interactions"] == 49


def test_prepare_without_validate_takes_digests_before_it_reads(local, monkeypatch):
    replace_during(monkeypatch, local, pipeline.stages.prepare, "assemble")
    with pytest.raises(InputMovedError, match="do it again"):
        do_stage(opened(local), stages.PREPARE)
    prepared = do_stage(opened(local), stages.PREPARE)
    assert prepared.input_digests["interactions.parquet"] == file_sha256(interactions_of(local))


def test_night_whose_catalogue_moved_between_extract_and_prepare_finishes_when_begun_again(config):
    night = opened(config)
    do_stages(night, upto=stages.EXTRACT)
    digest = replace_interactions(config)
    with pytest.raises(InputMovedError):
        do_stage(opened(config), stages.PREPARE)
    again = begin(opened(config))
    assert (again.again, again.run.generation, begin(opened(config)).again) == (True, 2, False)
    run = opened(config)
    for stage in (stages.EXTRACT, stages.PREPARE, stages.TRAIN):
        do_stage(run, stage)
    assert digest in run.require(stages.PREPARE).input_digests.values()
    assert list_files(run.path)[0].startswith("checkpoints/")
    assert read_json(run.store.generation("night")) == {"generation": 2}


def test_extract_and_its_shards_refuse_input_that_moved(local):
    night = opened(local)
    do_stage(night, stages.VALIDATE)
    replace_interactions(local)
    with pytest.raises(InputMovedError, match=r"interactions\.parquet"):
        do_stage(night, stages.EXTRACT)
    with pytest.raises(InputMovedError, match=r"interactions\.parquet"):
        run_stage(night, Stage("extract-text-0-2", ExtractResult), lambda run, _: extract_pinned(run, "text", (0, 2)))


def test_night_goes_on_where_a_file_was_written_anew_with_the_same_bytes(config):
    night = opened(config)
    do_stages(night, upto=stages.EXTRACT)
    file = interactions_of(config)
    with file.open("rb") as before:
        publish_bytes(file, before.read())
    assert not begin(night).again
    pinned = night.require(stages.VALIDATE).input.digests
    assert do_stage(night, stages.PREPARE).input_digests == pinned


def test_validate_interactions_replaced_while_it_reads_are_read_again(config, monkeypatch):
    replaced = replace_during(monkeypatch, config, pipeline.stages.validate, "check_catalogue")
    result = do_stage(opened(config), stages.VALIDATE)
    assert replaced[0] in result.input.digests.values()
    assert result.report.interactions.kept == 49


def test_validate_input_that_is_always_replaced_is_refused(local, monkeypatch):
    replace_during(monkeypatch, local, pipeline.stages.validate, "check_catalogue", times=9)
    with pytest.raises(InputError, match=r"moved 3 times while it was read \(changed: interactions\.parquet\); start"):
        do_stage(opened(local), stages.VALIDATE)


def test_begin_file_added_to_a_folder_begins_again(tmp_path):
    config = make_tiny(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "interactions.parquet").rename(tmp_path / "parts/0.parquet")
    settings = dataclasses.replace(config.catalogue, interactions=("parts",))
    config = dataclasses.replace(config, catalogue=settings)
    do_stages(opened(config), upto=stages.EXTRACT)
    pl.DataFrame({"user_id": ["new"], "item_id": ["item-00"]}).write_parquet(tmp_path / "parts/1.parquet")
    with pytest.raises(InputMovedError, match=r"new: parts/1\.parquet"):
        do_stage(opened(config), stages.PREPARE)
    assert do_stage(begin(opened(config)).run, stages.PREPARE).counts["users"] == 11


def test_begin_orphan_of_the_generation_before_does_not_disturb_the_next(local):
    orphan = opened(local)
    do_stages(orphan, upto=stages.PREPARE)
    replace_interactions(local)
    run = begin(opened(local)).run
    assert run.result(stages.PREPARE) is None
    do_stages(orphan, upto=stages.EVALUATE)
    assert [run.result(stage) for stage in (stages.TRAIN, stages.EVALUATE)] == [None, None]
    with pytest.raises(Exception, match="run night has begun again on other input"):
        do_stage(orphan, stages.EXPORT)
    assert not run.store.release("night").exists()
    do_stages(run, upto=stages.EXPORT)
    assert num_interactions(run) == 49


def test_begin_published_run_stays_as_it_is_and_says_so(local):
    do_stages(opened(local), upto=stages.EXPORT)
    replace_interactions(local)
    run = opened(local)
    begun = begin(run)
    assert (begun.again, begun.run.generation) == (False, 1)
    assert "run night has its release and stays" in " ".join(run.reporter.console.file.getvalue().split())


def test_begin_run_of_the_version_before_goes_on(local):
    """It has no pin and no generation: tables are taken as they come, their digests with them."""
    night = opened(local)
    do_stages(night, upto=stages.EXTRACT)
    record = night.folder(stages.VALIDATE) / "result.json"
    result = read_json(record)
    del result["input"]
    write_json(record, result)
    digest = replace_interactions(local)
    begun = begin(opened(local))
    assert (begun.again, begun.result.input) == (False, Pin())
    do_stages(begun.run, upto=stages.TRAIN)
    assert begun.run.require(stages.PREPARE).input_digests["interactions.parquet"] == digest


def test_begin_refused_input_leaves_the_id_free(local):
    wrong = dataclasses.replace(local, catalogue=dataclasses.replace(local.catalogue, items="absent.parquet"))
    with pytest.raises(InputError, match=r"absent\.parquet does not exist"):
        begin(opened(wrong))
    assert begin(opened(local)).result.input.files


def test_begin_refused_input_of_a_run_that_has_done_something_keeps_the_id(local):
    begin(opened(local))
    replace_interactions(local)
    publish_bytes(interactions_of(local), b"no table")
    with pytest.raises(InputError, match=r"interactions\.parquet cannot be read"):
        begin(opened(local))
    assert opened(local).generation == 2


@pytest.mark.parametrize("section", [{"gate": {"max_regression": 0.5}}, {"mlflow": {"model_name": "other"}}])
def test_open_run_settings_of_publication_are_todays(tmp_path, section):
    do_stage(opened(make_tiny(tmp_path)), stages.VALIDATE)
    run = opened(make_tiny(tmp_path, **section))
    assert run.result(stages.VALIDATE)
    assert all(run.config.as_dict()[name].items() >= values.items() for name, values in section.items())


def write_toml(folder: Path) -> Path:
    file = folder / "microrec.toml"
    file.write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n'
        '[modalities.text]\nencoder = "precomputed"\nvectors = "text.parquet"\n[store]\nroot = "store"\n'
        '[model]\nembedding_dim = 8\nneighbours = 4\n[train]\nmax_epochs = 2\ncheck_every = 1\ndevice = "cpu"\n'
    )
    return file


def told(done) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_validate_command_with_a_run_tells_report_run_and_input(local, tmp_path):
    arguments = ["validate", "-c", write_toml(tmp_path), "--json"]
    now = told(microrec(*arguments))
    assert not (tmp_path / "store/runs").exists()
    first = told(microrec(*arguments, "--run-id", "night"))
    assert {name: first[name] for name in now} == now
    assert (first["run_id"], first["generation"], first["begun_again"]) == ("night", 1, False)
    assert set(first["input"]["files"]) == {"items.parquet", "interactions.parquet"}
    digest = replace_interactions(local)
    second = told(microrec(*arguments, "--run-id", "night"))
    assert (second["generation"], second["begun_again"]) == (2, True)
    assert second["input"]["files"]["interactions.parquet"]["sha256"] == digest
    shown = microrec("validate", "-c", tmp_path / "microrec.toml", "--run-id", "night")
    assert shown.stdout.splitlines()[-1] == "run night stands on 2 files, begun again (2)"


def test_validate_command_two_at_once_begin_again_once(local, tmp_path):
    command = [sys.executable, "-m", "pipeline.cli", "validate", "-c", write_toml(tmp_path), "--json", "--run-id", "n"]
    subprocess.run(command, check=True, capture_output=True)
    replace_interactions(local)
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [answer["generation"] for answer in answers] == [2, 2]
    assert answers[0]["input"] == answers[1]["input"]


@pytest.mark.integration
def test_run_command_begins_again_on_new_input_and_keeps_what_is_published(local, tmp_path):
    arguments = ["-c", write_toml(tmp_path), "--json", "--run-id", "night"]
    for stage in ("validate", "extract", "prepare"):
        told(microrec(stage, *arguments))
    digest = replace_interactions(local)
    done = told(microrec("run", *arguments))
    manifest = read_json(local.open_store().release("night") / "manifest.json")
    assert manifest["input_digests"]["interactions.parquet"] == digest
    replace_interactions(local)
    again = microrec("run", *arguments)
    assert told(again)["digest"] == done["digest"]
    assert "has its release and stays" in again.stderr
