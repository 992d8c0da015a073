"""Commands that look at the input: write a sample, validate, extract features."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import NIGHT, TRY, AcceptChange, AsJson, ConfigFile, Overrides, load, parse_shard, show
from pipeline.errors import InputError
from pipeline.progress import Reporter

app = typer.Typer()


@app.command(rich_help_panel=TRY)
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    items: Annotated[int, typer.Option(min=20, help="Number of items.")] = 600,
    users: Annotated[int, typer.Option(min=10, help="Number of users.")] = 800,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 0,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Write a small catalogue with pictures, texts and interactions, and a ready microrec.toml."""
    from pipeline.sample import write_sample

    if config is not None or overrides:
        raise InputError("sample writes its own configuration: it takes neither -c nor --set")
    show(write_sample(folder, num_items=items, num_users=users, seed=seed), as_json)


@app.command(rich_help_panel=NIGHT)
def validate(
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Pin the input of this run; if it has changed, begin the run again.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read and decode every picture, not only a sample of the new ones.")
    ] = False,
    accept_change: AcceptChange = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check catalogue and interactions, compare them with the champion's, and print a report.

    Checks today's input, or with --run-id the input that is pinned for the run.
    """
    import dataclasses

    from pipeline.cli.show_validation import Validated, ValidatedRun, show_validated_run, show_validation
    from pipeline.opening import open_run
    from pipeline.registry.checks import require_passed
    from pipeline.stages.input_checks import ask_about, keep_checks
    from pipeline.stages.order import begin
    from pipeline.stages.validate import check_catalogue

    settings = load(config, overrides)
    if run_id is None:
        report = check_catalogue(settings, deep=deep)
        checks = ask_about(settings.open_store(), settings, report, accept_change=accept_change)
        show(Validated.of(report, checks), as_json, show_validation)
    else:
        begun = begin(open_run(settings, run_id, Reporter()))
        if deep:
            report = check_catalogue(settings, deep=True)
            begun = dataclasses.replace(begun, result=dataclasses.replace(begun.result, report=report))
        checks = ask_about(begun.run.store, settings, begun.result.report, accept_change=accept_change)
        keep_checks(begun.run, checks)
        show(ValidatedRun.of_run(begun, checks), as_json, show_validated_run)
    require_passed(checks)


@app.command(rich_help_panel=NIGHT)
def extract(
    modality: Annotated[str | None, typer.Option(help="Only this modality.")] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only shard I of N, from 0.")] = "0/1",
    run_id: Annotated[str | None, typer.Option("--run-id", help="Record it as a stage of this run.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Encode new pictures and texts into the feature store."""
    from pipeline import stages
    from pipeline.documents import as_document
    from pipeline.opening import open_run
    from pipeline.run import Run, Stage, run_stage
    from pipeline.stages.extract import extract_features, extract_pinned
    from pipeline.stages.order import do_stage
    from pipeline.stages.results import ExtractResult

    settings = load(config, overrides)
    if run_id is None:
        run = Run("extract", settings, settings.open_store(), Reporter())
        show({"modalities": as_document(extract_features(run, modality, parse_shard(shard)))["modalities"]}, as_json)
        return
    if modality is None and shard == "0/1":
        result = do_stage(open_run(settings, run_id, Reporter()), stages.EXTRACT)
    else:
        part = "-".join(["extract", *([modality] if modality else []), *(shard.split("/") if shard != "0/1" else [])])
        result = run_stage(
            open_run(settings, run_id, Reporter()),
            Stage(part, ExtractResult),
            lambda this, folder: extract_pinned(this, modality, parse_shard(shard)),
        )
    show(result, as_json)
