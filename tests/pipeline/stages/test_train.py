import dataclasses
import io

import polars as pl
import pytest
import torch

import model.training
import pipeline.stages.train
from model.ranks import RankFailedError
from pipeline import stages
from pipeline.config.config import compose
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError, InputError, MicrorecError
from pipeline.progress import Reporter
from pipeline.run import Run
from pipeline.stages.order import do_stage
from pipeline.stages.train import check_memory, num_processes, train
from pipeline.terminal import Terminal
from tests.commands import microrec
from tests.pipeline.tiny import make_tiny


@pytest.fixture
def dataset():
    interactions = pl.DataFrame({"user_index": [0, 1, 2], "item_index": [0, 1, 2], "split": ["train"] * 3})
    return Dataset(
        items=pl.DataFrame({"item_id": ["a", "b", "c"]}),
        users=pl.DataFrame({"user_id": ["u", "v", "w"]}),
        interactions=interactions,
        features={"text": torch.ones(3, 8).numpy()},
        present={"text": torch.ones(3, dtype=torch.bool).numpy()},
    )


@pytest.fixture
def run(tmp_path):
    document = {"catalogue": {"items": "i", "interactions": ["x"]}, "train": {"device": "cpu"}}
    config = compose(document, base=tmp_path)
    return Run("x", config, config.open_store(), Reporter(Terminal(file=io.StringIO(), width=400)))


def test_check_memory_enough_says_the_prediction_and_its_parts(run, dataset):
    predicted = check_memory(run, dataset)
    assert predicted > pipeline.stages.train.resident_memory_bytes() / 2
    log = run.reporter.console.file.getvalue()
    assert "predicted peak" in log
    assert "item graphs" in log


def test_check_memory_too_little_is_refused_with_the_reason(run, dataset, monkeypatch):
    monkeypatch.setattr(pipeline.stages.train, "free_memory_bytes", lambda: 1000)
    with pytest.raises(
        ConfigError, match=r"train: needs .*parameters.*only 0\.00 GiB are free; lower model\.embedding_dim"
    ):
        check_memory(run, dataset)


def test_check_memory_free_memory_unknown_is_no_reason_to_refuse(run, dataset, monkeypatch):
    monkeypatch.setattr(pipeline.stages.train, "free_memory_bytes", lambda: None)
    assert check_memory(run, dataset) > 0


def test_check_memory_counts_every_process_of_this_machine(run, dataset, monkeypatch):
    alone = check_memory(run, dataset)
    monkeypatch.setattr(pipeline.stages.train, "free_memory_bytes", lambda: 3 * alone // 2)
    monkeypatch.setattr(pipeline.stages.train, "resident_memory_bytes", lambda: 0)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "32")
    with pytest.raises(ConfigError, match="for each of 32 processes, but only"):
        check_memory(run, dataset)


def with_train(run, **values):
    return run.config.with_values({f"train.{key}": value for key, value in values.items()})


def test_num_processes_is_one_on_a_cpu_unless_a_number_says_otherwise(run):
    assert num_processes(run.config) == 1
    assert num_processes(with_train(run, processes=2)) == 2


def test_num_processes_auto_is_the_most_gpus_that_the_columns_can_be_split_over(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert num_processes(with_train(run, device="auto")) == 2
    assert num_processes(with_train(run, device="cuda:1")) == 1
    assert num_processes(with_train(run, device="cuda", processes=3)) == 3
    with pytest.raises(ConfigError, match=r"train\.processes = 4: one GPU each, .* gives 3; lower it"):
        num_processes(with_train(run, device="cuda", processes=4))


def test_num_processes_is_what_torchrun_has_started(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "16")
    assert num_processes(run.config) == 16


def test_config_no_process_at_all_is_refused(run):
    with pytest.raises(ConfigError, match="processes must be 'auto' or a whole number of at least 1, got 0"):
        with_train(run, processes=0)


@pytest.mark.parametrize(
    ("reason", "kind", "message"),
    [
        ("ConfigError: train: too wide", ConfigError, "^train: too wide$"),
        (
            "ZeroDivisionError: oh",
            MicrorecError,
            "process 1 of 2 failed: ZeroDivisionError: oh; continue with",
        ),
    ],
)
def test_train_error_of_one_process_is_the_stages_error(run, tmp_path, monkeypatch, reason, kind, message):
    def fail(*_):
        raise RankFailedError(1, 2, reason, "where")

    monkeypatch.setattr(pipeline.stages.train, "launch", fail)
    two = Run(run.id, with_train(run, processes=2), run.store, run.reporter)
    with pytest.raises(kind, match=message) as caught:
        train(two, tmp_path)
    assert caught.value.exit_status == (2 if kind is ConfigError else 1)


def test_do_stage_other_than_train_by_torchrun_is_refused(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="stage evaluate is done by one process"):
        do_stage(run, stages.EVALUATE)


@pytest.fixture
def shop(tmp_path):
    """A night of three epochs of two steps, checked after each."""
    make_tiny(tmp_path)
    (tmp_path / "microrec.toml").write_text(
        '[catalogue]\nitems = "items.parquet"\ninteractions = ["interactions.parquet"]\n'
        '[modalities.text]\nencoder = "precomputed"\nvectors = "text.parquet"\n'
        "[model]\nneighbours = 4\ncontent_weight = 0.4\n"
        '[train]\nmax_epochs = 3\ncheck_every = 1\nbatch_size = 16\ndevice = "cpu"\n'
        "[train.objective]\nl2 = 0.5\ncontrastive_weight = 0.003\n"
    )
    return tmp_path / "microrec.toml"


def diverged(shop, *more):
    """What a night says that diverges."""
    done = microrec("run", "--run-id", "a", "-c", shop, *more)
    told = [line for line in done.stderr.splitlines() if line.startswith("microrec: ")]
    assert (done.returncode, len(told)) == (2, 1), done.stderr
    return told[0]


def test_train_that_diverges_is_exit_status_2_with_step_and_suspect(shop):
    told = diverged(shop, "--set", "train.learning_rate=1e38")
    assert "train: training diverged in epoch 1: at step 2 of 2 the ranking loss became NaN or infinite; " in told
    assert "; lower train.learning_rate (train.learning_rate is 1e+38), for a new run; there is no checkpoint" in told


def test_train_that_diverges_later_names_the_last_good_checkpoint(shop, monkeypatch):
    plain, steps = model.training.objective, []

    def objective(*arguments):
        terms = plain(*arguments)
        steps.append(terms)
        return terms if len(steps) < 6 else dataclasses.replace(terms, total=terms.total * torch.inf)

    monkeypatch.setattr(model.training, "objective", objective)
    told = diverged(shop)
    assert "diverged in epoch 3: at step 2 of 2 the loss became NaN or infinite; " in told
    assert "lower train.objective.l2 or train.learning_rate " in told
    (checkpoint,) = shop.parent.rglob("epoch-000002.safetensors")
    assert told.endswith(f"; the last good checkpoint is {checkpoint}")
    assert not list(shop.parent.rglob("epoch-000003.safetensors"))
