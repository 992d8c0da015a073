"""The command line as a shell sees it: exit statuses, what goes to stdout, what goes to stderr."""

import errno
import json
import os
import subprocess
import sys

import pytest

from pipeline.cli import main
from pipeline.cli.failures import exit_status
from pipeline.process import SPINS


def microrec(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


def test_help_names_every_command_of_the_contract():
    done = microrec("--help")
    assert done.returncode == 0
    for command in [
        "sample",
        "validate",
        "extract",
        "prepare",
        "train",
        "evaluate",
        "export",
        "register",
        "run",
        "embed",
        "recommend",
        "similar",
        "promote",
        "rollback",
        "champion",
        "verify",
        "tune",
        "compare",
    ]:
        assert command in done.stdout


def test_help_is_grouped_by_purpose_and_whole_at_80_columns():
    done = microrec("--help")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.count("...") == 1  # of the usage line
    assert "…" not in done.stdout
    groups = ["Try it", "A night", "Measure models", "Use a release", "Champion", "Upkeep"]
    places = [done.stdout.index(f"─ {group}") for group in groups]
    assert places == sorted(places)
    assert places[3] < done.stdout.index(" similar ") < places[4]


def test_help_loads_no_heavy_library():
    heavy = ["torch", "mlflow", "sentence_transformers", "timm"]
    code = f"import sys, pipeline.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such-command",), "No such command"),
        (("train",), "Missing option '--run-id'"),
        (("run", "-c", "absent.toml"), "no configuration at absent.toml"),
        (("extract", "-c", "{config}", "--shard", "3/2"), "expected I/N"),
        (("train", "-c", "{config}", "--run-id", "../x"), "run id '../x'"),
        (
            ("train", "-c", "{config}", "--run-id", "x"),
            "no result of stage prepare; run `microrec prepare --run-id x` first",
        ),
        (("run", "-c", "{config}", "--set", "train.sed=1"), "the nearest known one is 'train.seed'"),
        (("run", "-c", "{config}"), "items.parquet"),
        (("run", "-c", "{config}", "--set", "store.root=microrec.toml"), "is a file; name a folder"),
        (("verify", "-c", "{config}", "nothing"), "no release 'nothing'"),
        (("recommend", "-c", "{config}", "--user", "u"), "there is no champion"),
    ],
)
def test_wrong_usage_exits_2_with_one_message(tmp_path, arguments, message):
    config = tmp_path / "microrec.toml"
    config.write_text('[catalogue]\nitems = "items.parquet"\ninteractions = ["x.parquet"]\n')
    done = microrec(*(argument.format(config=config) for argument in arguments), "--json", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("mlflow.*"))  # no registry is made for what is refused


def test_run_other_configuration_for_the_same_id_is_refused(tmp_path):
    microrec("sample", tmp_path, "--items", 30, "--users", 20)
    config = tmp_path / "microrec.toml"
    assert microrec("validate", "-c", config, "--run-id", "a").returncode == 0
    done = microrec("run", "-c", config, "--run-id", "a", "--set", "train.seed=5")
    assert done.returncode == 2
    assert "train.seed: 0 then, 5 now" in done.stderr


def test_sample_json_is_alone_on_stdout(tmp_path):
    done = microrec("sample", tmp_path / "demo", "--items", 30, "--users", 20, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("given", "turns"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_main_has_threads_wait_for_a_moment_unless_told_otherwise(monkeypatch, capsys, given, turns):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ.pop("GOMP_SPINCOUNT", None) == turns


@pytest.mark.parametrize(
    ("allowance", "given", "threads"),
    [
        ("150000 100000", None, "2"),
        ("50000 100000", None, "1"),
        ("150000 100000", "7", "7"),
        ("400000 100000", None, None),
        ("max 100000", None, None),
        (None, None, None),
    ],
)
def test_main_has_as_many_threads_as_the_container_has_processors(
    monkeypatch, capsys, tmp_path, allowance, given, threads
):
    if allowance is not None:
        (tmp_path / "cpu.max").write_text(f"{allowance}\n")
    monkeypatch.setattr("pipeline.resources.CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ.pop("OMP_NUM_THREADS", None) == threads


@pytest.mark.parametrize(("code", "status"), [(errno.ENOSPC, 1), (errno.EROFS, 2)])
def test_exit_status_of_a_disk_that_takes_nothing_is_one_line(code, status, capsys):
    def fail():
        raise OSError(code, os.strerror(code), "store/runs/x")

    assert exit_status(fail) == status
    assert capsys.readouterr().err == f"microrec: store/runs/x: {os.strerror(code)}\n"
