"""Commands that make a run, whole or by stages, and those that search and compare."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import (
    MEASURE,
    NIGHT,
    AcceptChange,
    AsJson,
    AsOf,
    ConfigFile,
    Overrides,
    RunId,
    load,
    parse_moment,
    parse_shard,
    show,
)
from pipeline.errors import GateRefusedError, InputError
from pipeline.progress import Reporter

if TYPE_CHECKING:
    from pipeline.run import Run
    from pipeline.stages.register_again import RegisteredAgain

app = typer.Typer()


def _stage_command(name: str, summary: str) -> None:
    def command(run_id: RunId, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
        from pipeline.stages import order

        show(order.do_stage(_open(config, overrides, run_id), order.STAGES[name]), as_json)

    app.command(name, help=summary, rich_help_panel=NIGHT)(command)


_stage_command("prepare", "Clean, split and index the interactions and gather the features.")
_stage_command("train", "Fit the model; continues from the latest checkpoint of the run.")
_stage_command("evaluate", "Measure the trained vectors on validation and test.")
_stage_command("export", "Write and publish the release.")


@app.command(rich_help_panel=NIGHT)
def register(
    run_id: Annotated[str | None, typer.Option("--run-id", help="Id of the run.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Register again what MLflow has lost.")] = False,
    release: Annotated[str | None, typer.Option("--release", help="With --again: a release whose run is gone.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Log the run to MLflow and register the model."""
    if bool(run_id) == bool(release) or (release and not again):
        raise InputError("register: give --run-id ID, or --again --release ID if only the release is left")
    if again:
        show(_register_again(config, overrides, run_id, release), as_json)
        return
    from pipeline.stages import order

    show(order.do_stage(_open(config, overrides, run_id or ""), order.STAGES["register"]), as_json)


def _register_again(
    config: Path | None, overrides: list[str] | None, run_id: str | None, release: str | None
) -> "RegisteredAgain":
    from pipeline.run import Run
    from pipeline.stages.register_again import register_release_again, register_run_again, require_begun

    settings = load(config, overrides)
    store = settings.open_store()
    if release:
        return register_release_again(Run.present(release, settings, store, Reporter()))
    require_begun(store, run_id or "")
    return register_run_again(_open(config, overrides, run_id or ""))


@app.command(rich_help_panel=NIGHT)
def changes(run_id: RunId, config: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what is new in a prepared run since the champion. If nothing is new, training can be skipped."""
    from pipeline.stages.changes import find_changes

    show(find_changes(_open(config, overrides, run_id)), as_json)


@app.command(rich_help_panel=NIGHT)
def gate(
    run_id: RunId,
    as_of: AsOf = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Judge an evaluated run by the quality gate, before its release is written."""
    from pipeline.cli.show import show_verdict
    from pipeline.registry.gate import require_passed
    from pipeline.stages.gate import ask_gate

    verdict = ask_gate(_open(config, overrides, run_id), parse_moment(as_of))
    show(verdict, as_json, show_verdict)
    require_passed(verdict)


@app.command(rich_help_panel=NIGHT)
def run(
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Id of the run to continue or to begin; default a new id.")
    ] = None,
    accept_change: AcceptChange = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Run all stages in order; the same id continues where it stopped."""
    from pipeline.cli.show import show_run
    from pipeline.stages.order import new_run_id, run_all

    this = _open(config, overrides, run_id or new_run_id())
    with _continuable(this):
        result = run_all(this, accept_change=accept_change)
    show(result, as_json, show_run)
    if result.gate:
        raise GateRefusedError(result.gate)


@app.command(rich_help_panel=MEASURE)
def tune(
    run_id: RunId,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Search hyper-parameters on validation and write the best configuration as TOML; the same id continues."""
    from pipeline.experiments.tune import tune as search

    this = _open(config, overrides, run_id)
    with _continuable(this):
        show(search(this), as_json)


@app.command(rich_help_panel=MEASURE)
def compare(
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Id of the comparison to continue or to begin.")
    ] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Measure every N-th fit only, from I.")] = "0/1",
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate the model, its ablations and the baselines under one protocol."""
    from pipeline.cli.show import show_comparison
    from pipeline.experiments.compare.compare import compare as compare_models
    from pipeline.experiments.compare.contestants import choose_contestants
    from pipeline.opening import open_run
    from pipeline.stages.order import new_run_id

    settings = load(config, overrides)
    choose_contestants(settings)  # a run that has not begun leaves its id free
    this = open_run(settings, run_id or new_run_id(), Reporter())
    with _continuable(this):
        show(compare_models(this, parse_shard(shard)), as_json, show_comparison)


def _open(config: Path | None, overrides: list[str] | None, run_id: str) -> "Run":
    from pipeline.opening import open_run

    return open_run(load(config, overrides), run_id, Reporter())


@contextmanager
def _continuable(run: "Run") -> Iterator[None]:
    """Say after an interrupt how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        run.reporter.say(f"interrupted; continue with --run-id {run.id}")
        raise
